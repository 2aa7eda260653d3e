// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	passphrase = "BLUFIO_VAULT_KEY=passphrase of a fixture"

	// The databases grow old, and nothing is to be deleted for that.
	forGood = "[agent]\nkeep_history = \"87600h\"\n[cost]\nledger_days = 36500\n"
)

// earlier are the databases of earlier versions: testdata/databases/README.md.
func earlier(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", "databases", "*.db.gz"))
	if err != nil || len(found) < 4 {
		t.Fatalf("databases of earlier versions: %v, %v", found, err)
	}
	return found
}

// left is a directory as an earlier version has left it.
func left(t *testing.T, packed string) restorable {
	t.Helper()
	r := restorable{plan: plan{dir: t.TempDir()}, binary: build(t, armed)}
	if err := os.WriteFile(r.config(), []byte(settings+forGood), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	unpacked, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(r.database(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, unpacked); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

// facts is what an upgrade may not change, in words. versions are those of the tables.
func (p plan) facts(t *testing.T) (facts string, versions map[string]int) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: p.database(), ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var all strings.Builder
	for _, query := range []string{
		`SELECT 'said: ' || text || ', ' || state || ': ' || reply FROM message ORDER BY seq`,
		`SELECT 'paid: ' || model || ' ' || input || '+' || output || ' ' || amount || ' at ' || at FROM cost_ledger ORDER BY at, id`,
		`SELECT 'total: ' || day || ' ' || model || ' ' || calls || ' ' || amount FROM cost_day ORDER BY day, model, purpose`,
		`SELECT 'switch: ' || stopped || ' ' || reason FROM cost_switch`,
	} {
		for _, fact := range texts(t, store, query) {
			fmt.Fprintln(&all, fact)
		}
	}
	for _, note := range p.noted(t, store) {
		fmt.Fprintln(&all, "note: "+note)
	}
	versions = map[string]int{}
	for _, room := range texts(t, store, `SELECT room FROM blufio_schema`) {
		var v int
		if err := store.QueryRow(t.Context(), `SELECT version FROM blufio_schema WHERE room = ?`, room).Scan(&v); err != nil {
			t.Fatal(err)
		}
		versions[room] = v
	}
	return all.String(), versions
}

// noted is what people asked to be remembered: as notes in older versions, as facts since.
func (p plan) noted(t *testing.T, store *sqlite.Store) (found []string) {
	t.Helper()
	for _, in := range []struct{ table, query string }{
		{"note", `SELECT text FROM note`}, {"fact", `SELECT payload ->> 'text' FROM fact`}, {"recall_entry", `SELECT text FROM recall_entry`},
	} {
		if len(texts(t, store, `SELECT name FROM sqlite_schema WHERE name = '`+in.table+`'`)) > 0 {
			found = append(found, texts(t, store, in.query)...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func texts(t *testing.T, store *sqlite.Store, query string) (found []string) {
	t.Helper()
	rows, err := store.Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		found = append(found, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// Each database of an earlier version is brought up to date, says what it said, and is
// worked with. Then its tables are a fresh database's: no step that was released has changed.
func TestUpgrade(t *testing.T) {
	fresh := plan{dir: t.TempDir()}
	if err := os.WriteFile(fresh.config(), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, fresh, build(t, armed))
	d.awaitHealthy(t)
	d.stop(t)
	_, versions := fresh.facts(t)
	tables := fresh.tables(t)
	for _, packed := range earlier(t) {
		t.Run(filepath.Base(packed), func(t *testing.T) {
			t.Parallel()
			r := left(t, packed)
			_, old := r.facts(t)
			r.workWith(t, old)
			_, now := r.facts(t)
			if old["agent"] >= now["agent"] || len(now) <= len(old) || fmt.Sprint(now) != fmt.Sprint(versions) {
				t.Errorf("tables %v became %v; a fresh database has %v", old, now, versions)
			}
			if got := r.tables(t); got != tables {
				t.Errorf("an upgraded database has\n%s\na fresh one has\n%s", got, tables)
			}
		})
	}
}

// tables are the SQL of all there are.
func (p plan) tables(t *testing.T) string {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: p.database(), ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	return strings.Join(texts(t, store, `SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name`), "\n")
}

// workWith starts a daemon on what an earlier version has left, with tables of old versions.
func (r restorable) workWith(t *testing.T, old map[string]int) {
	t.Helper()
	before, _ := r.facts(t)
	d := start(t, r.plan, r.binary, passphrase)
	d.awaitHealthy(t)
	now, _ := r.facts(t)
	if now != before {
		t.Errorf("before the upgrade:\n%s\nafter it:\n%s", before, now)
	}
	if got := r.run(t, "", 0, "cost"); !strings.Contains(got, "over the limit") {
		t.Errorf("the kill switch is off: %s", got)
	}
	if got := r.run(t, "", 0, "send", "recall boiler"); !strings.Contains(got, "4711") {
		t.Errorf("it does not remember: %s", got)
	}
	if old["keys"] > 0 {
		if got := r.run(t, "", 0, "keys", "list"); !strings.Contains(got, "dashboard") {
			t.Errorf("keys: %s", got)
		}
	}
	if old["vault"] > 0 {
		r.wantVault(t)
	}
	d.stop(t)
	if got := r.complaints(true); len(got) > 0 {
		t.Errorf("the log complains:\n%s", strings.Join(got, "\n"))
	}
}

// wantVault waits for the vault to open, which takes a while with a passphrase.
func (r restorable) wantVault(t *testing.T) {
	t.Helper()
	until(t, "the vault is open", startLimit, func() bool {
		var list bus.SecretList
		out := r.run(t, "", 0, "config", "list-secrets", "--json")
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Secrets) != 1 || list.Secrets[0].Name != "fixture.secret" {
			t.Fatalf("the vault: %s, %v", out, err)
		}
		return list.State == bus.VaultOpen
	})
}

// A daemon that dies while it brings the database up to date has done all of it or nothing,
// and the next start does it.
func TestUpgradeSurvivesAKill(t *testing.T) {
	packed := earlier(t)
	kills := failpoint.MigrationNames()
	kills = append(kills, "migrate.stepped:4", "migrate.stepped:9") // further in
	for i, at := range kills {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			r := left(t, packed[i%2]) // the two that are furthest behind
			before, old := r.facts(t)
			for range 2 { // it dies there each time until it gets through
				d := start(t, r.plan, r.binary, passphrase, "BLUFIO_FAILPOINT="+at)
				d.awaitDeath(t, at)
				if at == "migrate.committed" {
					break
				}
			}
			facts, versions := r.facts(t)
			if facts != before || (fmt.Sprint(versions) == fmt.Sprint(old)) == (at == "migrate.committed") {
				t.Errorf("after a kill at %s the tables are %v, they were %v, and it says\n%s", at, versions, old, facts)
			}
			r.workWith(t, old)
		})
	}
}
