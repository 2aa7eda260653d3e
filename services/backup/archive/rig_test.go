// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

var created = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

var letters = sqlite.Schema{Room: "letters", Steps: []string{
	`CREATE TABLE letter (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
	CREATE TABLE reply (id INTEGER PRIMARY KEY, letter INTEGER NOT NULL REFERENCES letter) STRICT`}}

// openStore opens a database with one room's tables.
func openStore(t testing.TB, path string, more ...sqlite.Schema) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context(), append(more, letters)...); err != nil {
		t.Fatal(err)
	}
	return s
}

func run(t testing.TB, s *sqlite.Store, query string, args ...any) {
	t.Helper()
	err := s.Write(context.Background(), func(tx *sqlite.Tx) error { _, err := tx.Exec(query, args...); return err })
	if err != nil {
		t.Fatal(err)
	}
}

// parts is a backup before it is written: names and content.
type parts struct {
	m     Manifest
	files map[string][]byte
}

func (p *parts) add(name, content string) {
	p.files[name] = []byte(content)
	sum := sha256.Sum256(p.files[name])
	p.m.Files = append(p.m.Files, File{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Mode: 0o600})
}

func (p *parts) open(name string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(p.files[name])), nil
}

func (p *parts) write(t testing.TB, recipients ...Recipient) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := Encrypt(&b, recipients)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(t.Context(), w, p.m, p.open, sound, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sound is what is known of these databases.
func sound() error { return nil }

// small is a whole backup of a few kilobytes.
func small(t testing.TB) *parts {
	t.Helper()
	dir := t.TempDir()
	s := openStore(t, filepath.Join(dir, "live.db"))
	run(t, s, `INSERT INTO letter (id, text) VALUES (1, 'dear'), (2, 'sir'); INSERT INTO reply (letter) VALUES (2)`)
	return gather(t, s)
}

// gather copies a store as a backup does.
func gather(t testing.TB, s *sqlite.Store) *parts {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Copy(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	checked, err := sqlite.Check(t.Context(), path)
	if err != nil || checked.Err() != nil {
		t.Fatal(err, checked.Err())
	}
	database, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{files: map[string][]byte{}, m: Manifest{
		Created: created, Version: "1.2.3", Node: "home", Device: "UABC", Schema: checked.Schema, Rows: checked.Rows,
		Cut: Cut{Event: 7, Epoch: "e1"}, Vault: Vault{Source: "file", Secrets: 2}, Stripped: []string{"telegram.token"},
	}}
	p.add(DatabaseName, string(database))
	p.add(DevicePubName, "UABC\n")
	p.add("config/00-blufio.toml", "[agent]\n")
	p.add(DeviceKeyName, "SUABC\n")
	p.add("workspace/notes/a.txt", "remember\n")
	p.add("workspace/"+strings.Repeat("long/", 30)+"ünïcode.txt", "")
	return p
}

// store puts an archive into a file.
func store(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), Name("home", created, Encrypted(b)))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
