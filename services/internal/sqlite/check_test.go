// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// copied is the copy of a database with many rows, an index and a foreign key.
func copied(t *testing.T) string {
	t.Helper()
	s := openTest(t, Options{})
	err := s.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`
			CREATE TABLE child (id INTEGER PRIMARY KEY, t INTEGER NOT NULL REFERENCES t, word TEXT NOT NULL) STRICT;
			CREATE INDEX child_word ON child (word);
			CREATE TABLE "odd "" name" (x INTEGER) STRICT;
			INSERT INTO t (id, v) VALUES (1, 'parent');
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
				INSERT INTO child SELECT i, 1, 'word' || i FROM n`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Copy(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

// spoil writes to a database without any protection.
func spoil(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA journal_mode = DELETE; PRAGMA writable_schema = 1; " + query); err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(path string)
		says  string // part of a line of damage; "": sound
		err   error
	}{
		{"sound", func(string) {}, "", nil},
		{"page overwritten", func(path string) { overwrite(t, path, 5*4096, 4096) }, "", ErrCorrupt},
		{"cut off", func(path string) { truncate(t, path, 3*4096) }, "", ErrCorrupt},
		{"row without a parent", func(path string) { spoil(t, path, `DELETE FROM t`) }, "row 1 of child refers to no row of t", ErrCorrupt},
		{"index lacks rows", func(path string) {
			spoil(t, path, `UPDATE sqlite_schema SET sql = 'CREATE INDEX child_word ON child (id)' WHERE name = 'child_word'`)
		}, "child_word", ErrCorrupt},
		{"versions missing", func(path string) { spoil(t, path, `DROP TABLE blufio_schema`) }, "blufio_schema", ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := copied(t)
			tt.spoil(path)
			c, err := Check(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Err(); !errors.Is(err, tt.err) || err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			if len(c.Damage) > damageLines || !strings.Contains(fmt.Sprint(c.Damage), tt.says) {
				t.Errorf("damage %.300q, want %q in it", c.Damage, tt.says)
			}
			if tt.err == nil && (c.Rows["child"] != 2000 || c.Rows[`odd " name`] != 0 || len(c.Rows) != 5) {
				t.Errorf("rows %v", c.Rows)
			}
			onlyFile(t, path)
		})
	}
}

func TestCheckOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite", other)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE x (y)`); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(t.Context(), other); !errors.Is(err, ErrNotBlufio) {
		t.Errorf("another program's: %v", err)
	}
	if _, err := Check(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, copied(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if _, err := Check(t.Context(), killed(t, "", "-wal")); err == nil {
		t.Error("a database whose last commits are in its log was taken for a whole copy")
	}
}

func overwrite(t *testing.T, path string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, n), at); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}
