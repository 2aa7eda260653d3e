// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

var quiet = slog.New(slog.DiscardHandler)

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd ?#%name.db")
	s := openTest(t, Options{Path: path})
	if err := s.Write(t.Context(), put("x")); err != nil {
		t.Fatal(err)
	}
	wantModes(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files left after Close: %v, %v", left, err)
	}

	// A restore by hand may leave it wider.
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, Options{Path: path})
	if err := s.Write(t.Context(), put("y")); err != nil {
		t.Fatal(err)
	}
	wantModes(t, path)
}

func wantModes(t *testing.T, path string) {
	t.Helper()
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(p)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
	}
}

func TestPragmas(t *testing.T) {
	s := openTest(t, Options{CacheKiB: 512})
	read := func(q interface {
		Scan(...any) error
	}) (v string) {
		if err := q.Scan(&v); err != nil {
			t.Error(err)
		}
		return v
	}
	for _, tt := range []struct{ name, writer, reader string }{
		{"journal_mode", "wal", "wal"},
		{"synchronous", "2", ""},
		{"foreign_keys", "1", "1"},
		{"busy_timeout", "5000", "5000"},
		{"cache_size", "-512", "-512"},
		{"query_only", "0", "1"},
		{"trusted_schema", "0", "0"},
		{"auto_vacuum", "2", "2"},
		{"journal_size_limit", "16777216", ""},
		{"temp_store_directory", filepath.Dir(s.meter.path), ""},
	} {
		q := "PRAGMA " + tt.name
		if got := read(s.writer.conn.QueryRowContext(t.Context(), q)); got != tt.writer {
			t.Errorf("writer: %s = %s, want %s", tt.name, got, tt.writer)
		}
		if got := read(s.QueryRow(t.Context(), q)); tt.reader != "" && got != tt.reader {
			t.Errorf("reader: %s = %s, want %s", tt.name, got, tt.reader)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	foreign := func(t *testing.T, path string) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(`CREATE TABLE theirs (x)`); err != nil {
			t.Fatal(err)
		}
	}
	bytesOf := func(b []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, b, 0o640); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		make func(*testing.T, string)
		want error
	}{
		{"another program's", foreign, ErrNotBlufio},
		{"text", bytesOf(bytes.Repeat([]byte("hello world\n"), 400)), ErrCorrupt},
		{"short", bytesOf([]byte(headerMagic)), ErrCorrupt},
		{"empty", bytesOf(nil), ErrCorrupt},
		{"damaged", damaged, ErrCorrupt},
		{"lost, log left", func(t *testing.T, path string) { bytesOf([]byte("log"))(t, path+"-wal") }, ErrCorrupt},
	}
	for _, tt := range tests {
		for _, ro := range []bool{false, true} {
			t.Run(tt.name+map[bool]string{true: "/read-only"}[ro], func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "test.db")
				tt.make(t, path)
				before := snapshot(t, dir)
				s, err := Open(t.Context(), Options{Path: path, ReadOnly: ro, Logger: quiet})
				if err == nil {
					s.Close()
				}
				want := tt.want
				if ro && tt.name == "lost, log left" {
					want = fs.ErrNotExist
				}
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
				if after := snapshot(t, dir); tt.name != "damaged" && !slices.Equal(before, after) {
					t.Errorf("the refused file was touched: %v, then %v", before, after)
				}
			})
		}
	}
}

// damaged makes a database with a good header and rubbish behind it.
func damaged(t *testing.T, path string) {
	s := openTest(t, Options{Path: path})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, 4000), headerSize); err != nil {
		t.Fatal(err)
	}
}

// snapshot lists the files of dir with their modes and contents.
func snapshot(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err1 := e.Info()
		b, err2 := os.ReadFile(filepath.Join(dir, e.Name()))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		all = append(all, e.Name(), info.Mode().String(), string(b))
	}
	return all
}

// TestManyStores: stores of one process do not disturb each other, though
// SQLite has a setting or two in common for them.
func TestManyStores(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		dir := t.TempDir()
		wg.Go(func() {
			s := openTest(t, Options{Path: filepath.Join(dir, "test.db"), CacheKiB: 64})
			if err := s.Write(t.Context(), func(tx *Tx) error {
				_, err := tx.Exec(`INSERT INTO t (v) WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 20000)
					SELECT hex(randomblob(20)) FROM c ORDER BY 1`) // large enough to spill
				return err
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestCreateInterrupted: what a crash leaves while a database is being made
// does not stand in the way of the next start.
func TestCreateInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	for _, suffix := range []string{".new", ".new-journal", "-shm"} {
		if err := os.WriteFile(path+suffix, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openTest(t, Options{Path: path})
	if err := s.Write(t.Context(), put("x")); err != nil {
		t.Error(err)
	}
}

func TestOpenWithoutDirectory(t *testing.T) {
	_, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "no", "test.db"), Logger: quiet})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// killed copies a store's files while it is open, as a killed process leaves
// them: commits in the log, none of them in the database file.
func killed(t *testing.T, suffixes ...string) (path string) {
	t.Helper()
	s := openTest(t, Options{})
	for _, v := range []string{"a", "b"} {
		if err := s.Write(t.Context(), put(v)); err != nil {
			t.Fatal(err)
		}
	}
	path = filepath.Join(t.TempDir(), "test.db")
	for _, suffix := range suffixes {
		b, err := os.ReadFile(s.meter.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestAfterKill(t *testing.T) {
	for _, left := range [][]string{{"", "-wal"}, {"", "-wal", "-shm"}} {
		s := openTest(t, Options{Path: killed(t, left...)})
		if got := values(t, s); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("files %q: rows %v", left, got)
		}
		if err := s.Write(t.Context(), put("c")); err != nil {
			t.Error(err)
		}
	}
}
