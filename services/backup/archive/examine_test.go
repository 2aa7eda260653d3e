// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// What turns out to be damaged at the last moment is no archive, though all of it but the seal is written.
func TestUnsoundIsNotSealed(t *testing.T) {
	p, bad := small(t), errors.New("bad")
	whole := p.write(t)
	var b bytes.Buffer
	if err := Write(t.Context(), &b, p.m, p.open, func() error { return bad }, nil); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	if b.Len() != len(whole)-sealBytes {
		t.Errorf("%d bytes of %d", b.Len(), len(whole))
	}
	if _, err := Verify(t.Context(), store(t, b.Bytes()), Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("it is taken for an archive: %v", err)
	}
}

// A panic while the copy is looked through is an error of the check, and ends no process.
func TestExamineContainsPanics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := openStore(t, filepath.Join(t.TempDir(), "live.db")).Copy(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	e, err := examine(t.Context(), path, func(context.Context, string) error { panic("oh") })
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	if err := e.Sound(); err == nil || !strings.HasPrefix(err.Error(), "panic: oh") {
		t.Errorf("got %v", err)
	}
	if err := e.Damage(); err == nil {
		t.Error("it is not known")
	}
}
