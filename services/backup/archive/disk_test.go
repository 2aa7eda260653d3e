// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/blufio/blufio/services/internal/sqlite"
)

const diskSize = 4 << 20

// mount makes a small file system of memory.
func mount(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		if errors.Is(err, os.ErrPermission) {
			t.Skip("NOT SHOWN: mounting a small file system is not permitted: ", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk leaves keep bytes of the file system of dir and returns how to give the rest back.
func fillDisk(t *testing.T, dir string, keep int64) (empty func()) {
	t.Helper()
	free, err := Free(dir)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, free-keep), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFull has the disk full at every write of a copy, of an archive, of a directory that
// it is extracted to, and of the scratch directory. It is said, and nothing is left.
func TestDiskFull(t *testing.T) {
	dir := mount(t)
	live := filepath.Join(t.TempDir(), "live.db")
	heavy(t, live, 1)
	s := openStore(t, live, messages)
	path := filepath.Join(t.TempDir(), "backup")
	if err := whole(t.Context(), s, t.TempDir(), path); err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	works := map[string]func() error{
		"copy":    func() error { return s.Copy(t.Context(), filepath.Join(dir, "copy.db"), nil) },
		"archive": func() error { return whole(t.Context(), s, elsewhere, filepath.Join(dir, "a")) },
		"extract": func() error {
			a, err := openFile(t.Context(), path, Options{})
			if err != nil {
				return err
			}
			defer a.Close()
			out := filepath.Join(dir, "out") // made before: it was not us who made it
			if err := os.Mkdir(out, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			if err = a.fill(out); err != nil { // without asking for the free space first
				return errors.Join(err, clearDir(out), os.Remove(out))
			}
			return nil
		},
		"verify": func() error {
			_, err := Verify(t.Context(), path, Options{Scratch: dir})
			return err
		},
	}
	for name, work := range works {
		t.Run(name, func(t *testing.T) { untilItFits(t, dir, work) })
	}
}

// untilItFits gives work more and more space.
func untilItFits(t *testing.T, dir string, work func() error) {
	t.Helper()
	failed, step := 0, int64(64<<10)
	if os.Getenv("SOAK_BACKUP") != "" {
		step = 4 << 10
	}
	for keep := int64(0); ; keep += step {
		if keep >= diskSize {
			t.Fatal("it did not fit even on an empty disk")
		}
		empty := fillDisk(t, dir, keep)
		err := work()
		empty()
		if err == nil {
			break
		}
		failed++
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, sqlite.ErrFull) && !errors.Is(err, ErrSpace) {
			t.Errorf("with %d KiB: %v", keep>>10, err)
		}
		if errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\n") {
			t.Errorf("with %d KiB: %v", keep>>10, err)
		}
		wantOnly(t, dir)
	}
	if failed < 5 {
		t.Errorf("only %d tries had too little space: the test shows little", failed)
	}
	t.Logf("%d tries had too little space", failed)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		t.Error(err)
	}
}

func TestReadOnlyTarget(t *testing.T) {
	dir := mount(t)
	path := store(t, small(t).write(t))
	s := openStore(t, filepath.Join(t.TempDir(), "live.db"))
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "old"), "old")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for name, work := range map[string]func() error{
		"copy":    func() error { return s.Copy(t.Context(), filepath.Join(dir, "copy.db"), nil) },
		"create":  func() error { _, err := Create(filepath.Join(dir, "a"), false); return err },
		"force":   func() error { _, err := Create(filepath.Join(dir, "old"), true); return err },
		"extract": func() error { _, err := Extract(t.Context(), path, filepath.Join(dir, "out"), Options{}); return err },
		"new dir": func() error { _, err := Extract(t.Context(), path, filepath.Join(dir, "new"), Options{}); return err },
		"verify":  func() error { _, err := Verify(t.Context(), path, Options{Scratch: dir}); return err },
	} {
		err := work()
		if !errors.Is(err, syscall.EROFS) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantOnly(t, dir, "out", "old")
	want(t, filepath.Join(dir, "old"), "old")

	// An archive in a place where nothing can be written is verified elsewhere.
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	here := filepath.Join(dir, "backup")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, here, string(content))
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), here, Options{}); err != nil {
		t.Error(err)
	}
}
