// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

const planted = "sesame-7d1f0c-planted" // the value that must be found nowhere

// rig is a data directory. Each vault that is opened on it stands for one process.
type rig struct {
	t      testing.TB
	dir    string
	store  *sqlite.Store
	logged *bytes.Buffer
	mu     sync.Mutex
	known  []string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), logged: &bytes.Buffer{}}
	r.store = roomtest.OpenStore(t, r.database(), Schema)
	return r
}

func (r *rig) database() string { return filepath.Join(r.dir, "blufio.db") }
func (r *rig) keyFile() string  { return filepath.Join(r.dir, fileName) }

// open opens and unlocks the vault, with these variables in the environment.
func (r *rig) open(environ ...string) *Vault {
	r.t.Helper()
	v, err := Open(r.t.Context(), Deps{Store: r.store, Events: eventlog.New(r.store), Sources: SourcesOf(environ, r.dir),
		Logger: slog.New(slog.NewJSONHandler(r.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Known: func(s config.Secret) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.known = append(r.known, s.Reveal())
		}})
	if err != nil {
		r.t.Fatal(err)
	}
	v.Unlock(r.t.Context())
	return v
}

func (r *rig) set(v *Vault, name, value string) {
	r.t.Helper()
	if _, err := v.Set(r.t.Context(), name, config.NewSecret(value)); err != nil {
		r.t.Fatalf("set %s: %v", name, err)
	}
}

func (r *rig) want(v *Vault, name, value string) {
	r.t.Helper()
	if got, err := v.Secret(name, config.Secret{}).Open(); err != nil || got != value {
		r.t.Errorf("%s is %q (%v), want %q", name, got, err, value)
	}
}

func (r *rig) exec(query string, args ...any) {
	r.t.Helper()
	err := r.store.Write(r.t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// rows are the vault's tables, to see whether they were touched.
func (r *rig) rows() string {
	r.t.Helper()
	key, err := readKey(r.t.Context(), r.store)
	if err != nil {
		r.t.Fatal(err)
	}
	all, err := readSecrets(r.t.Context(), r.store)
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf("%+v %+v", *key, all)
}

// credential writes one and returns the variable that leads to it.
func credential(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, credentialName), []byte(text), 0o400); err != nil {
		t.Fatal(err)
	}
	return "CREDENTIALS_DIRECTORY=" + dir
}

func code(v *Vault) string {
	var codes []string
	for _, p := range v.problems() {
		codes = append(codes, p.Code)
	}
	return strings.Join(codes, ",")
}

func TestSecretsAreKept(t *testing.T) {
	r := newRig(t)
	v := r.open()
	s := v.Secret("a.b", config.NewSecret("of the file"))
	if s.Reveal() != "of the file" || s.IsZero() || v.List().State != bus.VaultEmpty {
		t.Errorf("before: %q, %+v", s.Reveal(), v.List())
	}
	if none := v.Secret("c.d", config.Secret{}); !none.IsZero() || none.Reveal() != "" || none.String() != "" {
		t.Error("a secret that nobody set is set")
	}
	if _, err := os.Stat(r.keyFile()); !errors.Is(err, os.ErrNotExist) {
		t.Error("a key file was made before there was a secret")
	}
	r.set(v, "a.b", planted)
	if s.Reveal() != planted || fmt.Sprintf("%v %+v %#v %s", s, s, s, s) != strings.Repeat("[redacted] ", 3)+"[redacted]" {
		t.Errorf("after: %q, %v", s.Reveal(), s)
	}
	again := r.open()
	r.want(again, "a.b", planted)
	if l := again.List(); l.State != bus.VaultOpen || l.Source != bus.KeyFile || len(l.Secrets) != 1 || l.Secrets[0].SetAt.IsZero() {
		t.Errorf("listed %+v", l)
	}
	if source, beside := again.Source(); source != bus.KeyFile || !beside {
		t.Error(source, beside)
	}
	if got := strings.Join(r.known, " "); got != planted+" "+planted {
		t.Errorf("known: %q", got)
	}
	if _, err := again.Delete(t.Context(), "a.b"); err != nil {
		t.Fatal(err)
	}
	if again.Secret("a.b", config.Secret{}).Reveal() != "" || len(r.open().Names()) != 0 {
		t.Error("it is not deleted")
	}
}

// What was kept is in clear in no file and in no log, and no event tells it.
func TestNothingIsInClear(t *testing.T) {
	r := newRig(t)
	v := r.open()
	r.set(v, "a.b", planted)
	if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err != nil {
		t.Fatal(err)
	}
	_, errs := v.Set(t.Context(), "Not A Name "+planted, config.NewSecret(planted))
	files, err := filepath.Glob(filepath.Join(r.dir, "*"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if data, err := os.ReadFile(name); err != nil || bytes.Contains(data, []byte(planted)) {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others", name)
		}
	}
	rows, err := eventlog.New(r.store).After(t.Context(), 0, 10)
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	if !strings.Contains(string(rows[0].Payload), `"name":"a.b","action":"set"`) || !strings.Contains(string(rows[1].Payload), `"action":"rotated"`) {
		t.Errorf("events %s, %s", rows[0].Payload, rows[1].Payload)
	}
	if strings.Contains(r.logged.String(), planted) {
		t.Errorf("logged: %s", r.logged)
	}
	if !strings.Contains(fmt.Sprint(errs), "cannot be a secret's name") {
		t.Error(errs)
	}
}

func TestSources(t *testing.T) {
	long := strings.Repeat("k", leastMaterial)
	for name, c := range map[string]struct {
		environ []string
		source  string
		kdf     string
	}{
		"file":                       {nil, bus.KeyFile, kdfHKDF},
		"credential":                 {[]string{credential(t, long+"\n"), PassphraseVariable + "=ignored-here"}, bus.KeyCredential, kdfHKDF},
		"binary credential":          {[]string{credential(t, "\x00\xff with blanks \x01"+long)}, bus.KeyCredential, kdfHKDF},
		"short credential":           {[]string{credential(t, "correct horse")}, bus.KeyCredential, kdfArgon2},
		"credential of words":        {[]string{credential(t, "correct horse battery staple, and one more")}, bus.KeyCredential, kdfArgon2},
		"passphrase":                 {[]string{PassphraseVariable + "=correct horse"}, bus.KeyPassphrase, kdfArgon2},
		"directory without our name": {[]string{"CREDENTIALS_DIRECTORY=" + t.TempDir()}, bus.KeyFile, kdfHKDF},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			v := r.open(c.environ...)
			r.set(v, "a", planted)
			if c.kdf == kdfHKDF { // the other is dear, and TestArgonRunsOnce opens with it
				v = r.open(c.environ...)
			}
			r.want(v, "a", planted)
			if v.row.source != c.source || v.row.kdf.name != c.kdf {
				t.Errorf("locked with %s by %s", v.row.source, v.row.kdf.name)
			}
			if _, err := os.Stat(r.keyFile()); (err == nil) != (c.source == bus.KeyFile) {
				t.Errorf("key file: %v", err)
			}
		})
	}
	for name, environ := range map[string]string{"passphrase": PassphraseVariable + "=short", "credential": credential(t, "short\n")} {
		r := newRig(t)
		if _, err := r.open(environ).Set(t.Context(), "a", config.NewSecret("x")); err == nil || strings.Contains(err.Error(), "short\"") {
			t.Errorf("a short %s: %v", name, err)
		}
	}
}

// A key file that others may read is not used, and not replaced.
func TestKeyFileIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"mode":  func(p string) error { return os.Chmod(p, 0o640) },
		"link":  func(p string) error { return errors.Join(os.Rename(p, p+".x"), os.Symlink(p+".x", p)) },
		"dir":   func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"short": func(p string) error { return os.WriteFile(p, []byte("too short"), 0o600) },
		"long":  func(p string) error { return os.WriteFile(p, make([]byte, maxKeyFile+1), 0o600) },
		"other": func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("x"), 44), 0o600) },
		"lost":  os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.set(r.open(), "a", planted)
			if err := spoil(r.keyFile()); err != nil {
				t.Fatal(err)
			}
			before := r.rows()
			v := r.open()
			_, err := v.Secret("a", config.Secret{}).Open()
			if code(v) != "vault_locked" || err == nil || v.List().State != bus.VaultLocked || v.Secret("a", config.Secret{}).IsZero() {
				t.Errorf("%s: %v, %+v", code(v), err, v.List())
			}
			if !strings.Contains(v.List().Hint, "vault.key") {
				t.Errorf("hint %q", v.List().Hint)
			}
			for what, err := range map[string]error{"set": second(v.Set(t.Context(), "b", config.NewSecret("x"))), "rotate": second(v.Rotate(t.Context(), bus.VaultRotation{}))} {
				if bus.CodeOf(err) != bus.CodeUnavailable {
					t.Errorf("%s: %v", what, err)
				}
			}
			if r.rows() != before {
				t.Error("a vault that is not open was written")
			}
			if _, err := os.Lstat(r.keyFile()); name == "lost" && err == nil {
				t.Error("a lost key file was made anew")
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// The way out of a lost key: once nothing is left, the vault is begun anew.
func TestLostKey(t *testing.T) {
	for name, again := range map[string][]string{"file": nil, "passphrase": {PassphraseVariable + "=another passphrase"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if name == "file" {
				r.set(r.open(), "a", "old")
				if err := os.Remove(r.keyFile()); err != nil {
					t.Fatal(err)
				}
			} else {
				r.set(r.open(PassphraseVariable+"=the first passphrase"), "a", "old")
			}
			v := r.open(again...)
			if code(v) != "vault_locked" {
				t.Fatal(v.List())
			}
			if _, err := v.Delete(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if code(v) != "" || v.List().State != bus.VaultEmpty {
				t.Errorf("nothing is left, and still %+v", v.List())
			}
			r.set(v, "a", planted)
			r.want(v, "a", planted)
			r.want(r.open(again...), "a", planted)
			if v.derived > 1 {
				t.Errorf("Argon2id ran %d times", v.derived)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	r := newRig(t)
	v := r.open()
	for i := range maxSecrets {
		r.set(v, fmt.Sprintf("free.n%d", i), strings.Repeat("x", maxBytes))
	}
	refused := func(name, value string, want bus.Code) {
		t.Helper()
		if _, err := v.Set(t.Context(), name, config.NewSecret(value)); bus.CodeOf(err) != want {
			t.Errorf("%.30s: %v", name, err)
		}
	}
	refused("one.more", "x", bus.CodeBusy)
	r.set(v, "free.n0", "replaced")
	refused("free.n0", strings.Repeat("x", maxBytes+1), bus.CodeTooLarge)
	refused("free.n0", "", bus.CodeInvalid)
	refused("free.n0", "a\x00b", bus.CodeInvalid)
	refused("free.n0", "\xff", bus.CodeInvalid)
	for _, name := range []string{"", ".", "a..b", "a.", ".a", "A.b", "a b", "a-b", "1a", "a\nb", strings.Repeat("a", maxName+1)} {
		refused(name, "x", bus.CodeInvalid)
	}
	if l := r.open().List(); len(l.Secrets) != maxSecrets || l.Limit != maxSecrets {
		t.Errorf("%d secrets", len(l.Secrets))
	}
}

// Many read and change at once; each reads what was set last, or before that.
func TestConcurrency(t *testing.T) {
	r := newRig(t)
	v := r.open()
	var group sync.WaitGroup
	for i := range 4 {
		name := fmt.Sprintf("n%d", i)
		r.set(v, name, "0")
		group.Go(func() {
			for n := 1; n <= 20; n++ {
				value := fmt.Sprint(n)
				if _, err := v.Set(t.Context(), name, config.NewSecret(value)); err != nil {
					t.Error(err)
				}
				if got := v.Secret(name, config.Secret{}).Reveal(); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
				v.List()
			}
		})
	}
	group.Go(func() {
		for range 10 {
			if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	for i := range 4 {
		r.want(r.open(), fmt.Sprintf("n%d", i), "20")
	}
}

// Who reads before the vault is open waits for it.
func TestReadersWait(t *testing.T) {
	r := newRig(t)
	r.set(r.open(), "a", planted)
	v, err := Open(t.Context(), Deps{Store: r.store, Events: eventlog.New(r.store), Sources: SourcesOf(nil, r.dir), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if l := v.List(); l.State != bus.VaultOpening || code(v) != "" {
		t.Errorf("%+v", l)
	}
	got := make(chan string)
	go func() { got <- v.Secret("a", config.Secret{}).Reveal() }()
	v.Unlock(context.Background())
	if s := <-got; s != planted {
		t.Errorf("read %q", s)
	}
}

// What the vault does not take nobody has to remember.
func TestRefusedSecretsAreNotKnown(t *testing.T) {
	r := newRig(t)
	for name, value := range map[string]string{"a": strings.Repeat("x", maxBytes+1), "No Name": planted} {
		if _, err := r.open().Set(t.Context(), name, config.NewSecret(value)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if len(r.known) > 0 {
		t.Errorf("%d values are remembered", len(r.known))
	}
}

// A failed commit changes nothing, in memory neither.
func TestFailedCommit(t *testing.T) {
	r := newRig(t)
	v := r.open()
	r.set(v, "a", "old")
	r.exec(`CREATE TRIGGER refuse BEFORE UPDATE ON vault_secrets BEGIN SELECT RAISE(ABORT, 'no'); END`)
	if _, err := v.Set(t.Context(), "a", config.NewSecret("new")); err == nil || strings.Contains(err.Error(), "new") {
		t.Error(err)
	}
	if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err == nil {
		t.Error("rotated")
	}
	r.want(v, "a", "old")
	r.exec(`DROP TRIGGER refuse`)
	r.want(r.open(), "a", "old")
	r.set(v, "a", "new")
	r.want(r.open(), "a", "new")
}
