// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
)

// A source that comes to stand before the one in use opens nothing, and takes over
// with the next rotation.
func TestVaultMoves(t *testing.T) {
	r := newRig(t)
	r.set(r.open(), "a", planted)
	environ := PassphraseVariable + "=correct horse"
	v := r.open(environ)
	r.want(v, "a", planted)
	if l := v.List(); l.Source != bus.KeyFile || l.Next != bus.KeyPassphrase {
		t.Errorf("%+v", l)
	}
	if out, err := v.Set(t.Context(), "b", config.NewSecret(planted)); err != nil || out.Next != bus.KeyPassphrase || out.Begun != "" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err != nil {
		t.Fatal(err)
	}
	if source, beside := v.Source(); source != bus.KeyPassphrase || beside || v.List().Next != "" {
		t.Error(source)
	}
	if err := os.Remove(r.keyFile()); err != nil {
		t.Fatal(err)
	}
	r.want(r.open(environ), "a", planted)
}

// The file as it is may become a credential.
func TestFileBecomesCredential(t *testing.T) {
	r := newRig(t)
	r.set(r.open(), "a", planted)
	key, err := os.ReadFile(r.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	environ := credential(t, string(key))
	if err := os.Remove(r.keyFile()); err != nil {
		t.Fatal(err)
	}
	r.want(r.open(environ), "a", planted)
}

// A rotation that ends between its steps leaves a vault that opens, and the next who
// opens it ends it.
func TestRotationCutOff(t *testing.T) {
	r := newRig(t)
	v := r.open()
	r.set(v, "a", planted)
	old, err := os.ReadFile(r.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	f := v.d.Sources.file
	if _, err := f.remake(); err != nil { // before the commit
		t.Fatal(err)
	}
	r.want(r.open(), "a", planted)
	if _, err := os.Stat(f.next()); err == nil {
		t.Error("the key that never counted is left behind")
	}
	if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(f.path, f.next()), os.WriteFile(f.path, old, 0o600)); err != nil { // after the commit
		t.Fatal(err)
	}
	r.want(r.open(), "a", planted)
	if now, err := os.ReadFile(f.path); err != nil || bytes.Equal(now, old) {
		t.Error("the new key is not in its place", err)
	}
	if _, err := os.Stat(f.next()); err == nil {
		t.Error("the new key is there twice")
	}
}

// A key that could not be put in its place is still the only one that opens the vault: the
// next rotation, cut off in its turn, does not lose it.
func TestRotationAfterOneThatWasNotTidied(t *testing.T) {
	r := newRig(t)
	v := r.open()
	r.set(v, "a", planted)
	old, err := os.ReadFile(r.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err != nil {
		t.Fatal(err)
	}
	f := v.d.Sources.file
	if err := errors.Join(os.Rename(f.path, f.next()), os.WriteFile(f.path, old, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.exec(`CREATE TRIGGER full BEFORE INSERT ON vault_secrets BEGIN SELECT RAISE(ABORT, 'no space'); END`)
	if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err == nil {
		t.Error("it was stored")
	}
	r.exec(`DROP TRIGGER full`)
	r.want(r.open(), "a", planted)
}

// newPassphrase asks for one.
func newPassphrase(text string) bus.VaultRotation {
	return bus.VaultRotation{To: bus.KeyPassphrase, Passphrase: bus.Hide(text)}
}

// A passphrase is changed, counts in this process from then on, and only the new one
// opens the vault afterwards.
func TestPassphraseIsChanged(t *testing.T) {
	const first, then = PassphraseVariable + "=correct horse", PassphraseVariable + "=battery staple"
	r := newRig(t)
	v := r.open(first)
	r.set(v, "a", planted)
	out, err := v.Rotate(t.Context(), newPassphrase("battery staple"))
	if err != nil || out.Source != bus.KeyPassphrase || out.Secrets != 1 || out.OldFile != "" {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := v.Rotate(t.Context(), bus.VaultRotation{}); err != nil { // stays with the new one
		t.Fatal(err)
	}
	r.set(v, "b", planted)
	if old := r.open(first); code(old) != "vault_locked" {
		t.Error("the old passphrase opens the vault")
	}
	r.want(r.open(then), "a", planted)
	r.want(r.open(then), "b", planted)
	if !slices.Contains(r.known, "battery staple") || strings.Contains(r.logged.String(), "staple") {
		t.Error("the passphrase may be logged")
	}
}

// From a file to a passphrase and back, whatever the environment has; what is left of
// the file is told.
func TestVaultMovesWhereItIsTold(t *testing.T) {
	const environ = PassphraseVariable + "=battery staple"
	r := newRig(t)
	v := r.open()
	r.set(v, "a", planted)
	out, err := v.Rotate(t.Context(), newPassphrase("battery staple"))
	if err != nil || out.Source != bus.KeyPassphrase || out.OldFile != r.keyFile() {
		t.Fatalf("%+v, %v", out, err)
	}
	if v := r.open(); code(v) != "vault_locked" {
		t.Error("the old file opens the vault")
	}
	v = r.open(environ)
	out, err = v.Rotate(t.Context(), bus.VaultRotation{To: bus.KeyFile})
	if err != nil || out.Source != bus.KeyFile || out.OldFile != "" || out.Next != bus.KeyPassphrase {
		t.Fatalf("%+v, %v", out, err)
	}
	r.want(r.open(), "a", planted)
	r.want(r.open(environ), "a", planted)
}

// Who takes another passphrase for the daemon's learns it, and nothing is done.
func TestRotationIsMeant(t *testing.T) {
	proof := func(text string) bus.VaultRotation {
		return bus.VaultRotation{Meant: bus.ProvePassphrase(text, "0123456789abcdef")}
	}
	for name, c := range map[string]struct {
		environ []string
		r       bus.VaultRotation
		want    string
	}{
		"the same":          {[]string{PassphraseVariable + "=correct horse"}, proof("correct horse"), ""},
		"another":           {[]string{PassphraseVariable + "=correct horse"}, proof("battery staple"), "is not the daemon's"},
		"the daemon's none": {nil, proof("battery staple"), "the daemon has no"},
		"short":             {nil, newPassphrase("seven b"), "fewer than 8 bytes"},
		"lines":             {nil, newPassphrase("two\nlines and more"), "not one line"},
		"elsewhere":         {nil, bus.VaultRotation{To: "credential"}, "cannot be moved"},
		"without a word":    {nil, bus.VaultRotation{Passphrase: bus.Hide("battery staple")}, "needs to"},
		"nonce too short":   {[]string{PassphraseVariable + "=correct horse"}, bus.VaultRotation{Meant: bus.ProvePassphrase("correct horse", "0")}, "is not the daemon's"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			v := r.open(c.environ...)
			r.set(v, "a", planted)
			before := r.rows()
			_, err := v.Rotate(t.Context(), c.r)
			if (err == nil) != (c.want == "") || err != nil && (bus.CodeOf(err) != bus.CodeInvalid || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v", err)
			}
			if (r.rows() == before) != (c.want != "") {
				t.Error("the rows do not fit the answer")
			}
			r.want(r.open(c.environ...), "a", planted)
		})
	}
}
