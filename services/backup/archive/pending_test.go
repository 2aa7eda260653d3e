// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// begin creates a pending file with some content.
func begin(t *testing.T, path string, force bool) *Pending {
	t.Helper()
	p, err := Create(path, force)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	return p
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, path, content string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("%s holds %q, want %q, %v", path, got, content, err)
	}
}

func TestPending(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	p := begin(t, path, false)
	wantOnly(t, dir, "a.partial")
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := p.Abort(); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
	wantOnly(t, dir, "a")
	want(t, path, "new")
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
	if _, err := p.Write(nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Commit: %v", err)
	}
}

func TestPendingDoesNotReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	p := begin(t, path, false)
	put(t, path, "other's") // that came meanwhile
	if err := p.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Commit: %v", err)
	}
	if err := errors.Join(p.Abort(), p.Abort()); err != nil {
		t.Error(err)
	}
	want(t, path, "other's")
	wantOnly(t, dir, "a")
	if _, err := Create(path, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create: %v", err)
	}
	if _, err := Create(dir, true); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a directory: %v", err)
	}
	if err := begin(t, path, true).Commit(); err != nil {
		t.Errorf("with force: %v", err)
	}
	want(t, path, "new")
	wantOnly(t, dir, "a")
}

func TestPendingOfAnother(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	put(t, path+".partial", "left by one that was killed")
	p := begin(t, path, false)
	if _, err := Create(path, false); !errors.Is(err, errWriting) {
		t.Errorf("Create of what another writes: %v", err)
	}
	if err := os.Remove(p.Partial()); err != nil {
		t.Fatal(err)
	}
	put(t, p.Partial(), "somebody else's")
	if err := p.Commit(); err == nil {
		t.Error("committed a file that is not its own")
	}
	if err := p.Abort(); err == nil {
		t.Error("Abort says nothing of a file that is not its own")
	}
	want(t, path+".partial", "somebody else's")
	wantOnly(t, dir, "a.partial")
}

// In a directory of everybody's, a link must not lead the backup elsewhere.
func TestPendingFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "a"), filepath.Join(dir, "elsewhere")
	put(t, elsewhere, "untouched")
	if err := os.Symlink(elsewhere, path+".partial"); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, true); err == nil {
		t.Error("Create followed a link")
	}
	if err := os.Remove(path + ".partial"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create where a link is: %v", err)
	}
	if err := begin(t, path, true).Commit(); err != nil {
		t.Error(err)
	}
	want(t, elsewhere, "untouched")
	want(t, path, "new")
}
