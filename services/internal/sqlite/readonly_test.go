// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
)

// asStranger makes the files below dir readable by anyone, writable by nobody,
// and runs fn as a user who is not their owner.
func asStranger(t *testing.T, dir string, fn func()) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Chmod(filepath.Join(dir, e.Name()), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	// t.TempDir lies in a directory only its maker can enter.
	for d, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o555} {
		if err := os.Chmod(d, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	if os.Getuid() == 0 { // for root no mode is an obstacle
		// The identity is this thread's alone. database/sql opens the
		// connections of unhurried calls on the caller's goroutine.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := syscall.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Setfsuid(0); err != nil {
				t.Fatal(err)
			}
		}()
	}
	if err := os.WriteFile(filepath.Join(dir, "probe"), nil, 0o600); err == nil {
		t.Fatal("the directory is writable: the test would show nothing")
	}
	fn()
}

func TestReadOnly(t *testing.T) {
	tests := []struct {
		name string
		make func(*testing.T) string
	}{
		{"killed", func(t *testing.T) string { return killed(t, "", "-wal", "-shm") }},
		{"killed, index gone", func(t *testing.T) string { return killed(t, "", "-wal") }},
		{"closed", func(t *testing.T) string {
			s := openTest(t, Options{})
			for _, v := range []string{"a", "b"} {
				if err := s.Write(t.Context(), put(v)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return s.meter.path
		}},
		{"running", func(t *testing.T) string {
			s := openTest(t, Options{})
			for _, v := range []string{"a", "b"} {
				if err := s.Write(t.Context(), put(v)); err != nil {
					t.Fatal(err)
				}
			}
			return s.meter.path
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name+"/owner", func(t *testing.T) {
			path := tt.make(t)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			checkReadOnly(t, path)
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("reading changed the database, %v", err)
			}
		})
		t.Run(tt.name+"/stranger", func(t *testing.T) {
			path := tt.make(t)
			asStranger(t, filepath.Dir(path), func() { checkReadOnly(t, path) })
		})
	}
}

func checkReadOnly(t *testing.T, path string) {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path, ReadOnly: true, Logger: quiet})
	if err != nil {
		t.Error(err)
		return
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Migrate(t.Context(), testSchema); err != nil {
		t.Error(err)
	}
	if got := values(t, s); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("rows %v", got)
	}
	if err := s.Write(t.Context(), put("x")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Write: %v", err)
	}
	if err := s.WriteLazy(put("x"), nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("WriteLazy: %v", err)
	}
	if _, err := s.Shrink(t.Context()); err != nil {
		t.Errorf("Shrink: %v", err)
	}
	if st := s.Stats(); st.DBBytes == 0 {
		t.Errorf("stats %+v", st)
	}
	newer := Schema{Room: testSchema.Room, Steps: append(slices.Clone(testSchema.Steps), `CREATE TABLE more (x)`)}
	if err := s.Migrate(t.Context(), newer); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Migrate of an older database: %v", err)
	}
}
