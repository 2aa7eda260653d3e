// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/blufio/blufio/bus"
)

// A source that comes to stand before the one in use opens nothing, and takes over
// with the next rotation.
func TestVaultMoves(t *testing.T) {
	r := newRig(t)
	r.set(r.open(), "a", planted)
	environ := passphraseName + "=correct horse"
	v := r.open(environ)
	r.want(v, "a", planted)
	if source, beside := v.Source(); source != bus.KeyFile || !beside {
		t.Error(source)
	}
	if _, err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if source, beside := v.Source(); source != bus.KeyPassphrase || beside {
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
	if _, err := v.Rotate(t.Context()); err != nil {
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
	if _, err := v.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := v.d.Sources.file
	if err := errors.Join(os.Rename(f.path, f.next()), os.WriteFile(f.path, old, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.exec(`CREATE TRIGGER full BEFORE INSERT ON vault_secrets BEGIN SELECT RAISE(ABORT, 'no space'); END`)
	if _, err := v.Rotate(t.Context()); err == nil {
		t.Error("it was stored")
	}
	r.exec(`DROP TRIGGER full`)
	r.want(r.open(), "a", planted)
}
