// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// onlyFile fails unless path is alone in its directory, with mode 0600.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("beside the copy: %v", entries)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode of the copy %v, %v", info, err)
	}
}

func TestCopy(t *testing.T) {
	s := openTest(t, Options{})
	for _, v := range []string{"a", "b"} {
		if err := s.Write(t.Context(), put(v)); err != nil {
			t.Fatal(err)
		}
	}
	to := filepath.Join(t.TempDir(), "odd ?#%name.db")
	var done, total int64
	if err := s.Copy(t.Context(), to, func(d, n int64) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	onlyFile(t, to)
	checked, err := Check(t.Context(), to)
	if err != nil || checked.Err() != nil {
		t.Fatalf("%v, %v", err, checked.Err())
	}
	onlyFile(t, to)
	if checked.Rows["t"] != 2 || checked.Rows["u"] != 0 || len(checked.Rows) != 3 || checked.Schema["test"] != 2 {
		t.Errorf("checked %+v", checked)
	}
	if done != total || total != checked.Bytes || total != fileSize(to) {
		t.Errorf("progress ended at %d of %d; the copy has %d bytes", done, total, fileSize(to))
	}
	if err := s.Copy(t.Context(), to, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
	onlyFile(t, to)
	if got := values(t, openTest(t, Options{Path: to})); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the copy holds %v", got)
	}
}

func TestCopyIsGivenUp(t *testing.T) {
	s := openTest(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if err := s.Copy(ctx, filepath.Join(dir, "copy.db"), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// A killed daemon's last commits are in its write-ahead log alone.
func TestCopyFile(t *testing.T) {
	for name, path := range map[string]string{"killed": killed(t, "", "-wal", "-shm"), "index gone": killed(t, "", "-wal")} {
		t.Run(name, func(t *testing.T) {
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(t.TempDir(), "copy.db")
			if err := CopyFile(t.Context(), path, to, nil); err != nil {
				t.Fatal(err)
			}
			onlyFile(t, to)
			if got := values(t, openTest(t, Options{Path: to})); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("the copy holds %v", got)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the source was changed, %v", err)
			}
		})
	}
}
