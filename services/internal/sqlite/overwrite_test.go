// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a transaction that overwrites deletes is in no file afterwards; without it, it is.
func TestOverwrite(t *testing.T) {
	for _, overwrites := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "blufio.db")
		s, err := Open(t.Context(), Options{Path: path, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		secret := strings.Repeat("not for ever ", 2000) // more than a page
		write(t, s, func(tx *Tx) error {
			_, err := tx.Exec(`CREATE TABLE t (x TEXT); INSERT INTO t VALUES (?)`, secret)
			return err
		})
		write(t, s, func(tx *Tx) error {
			if overwrites {
				if err := tx.Overwrite(); err != nil {
					return err
				}
			}
			_, err := tx.Exec(`DELETE FROM t`)
			return err
		})
		done, err := s.EmptyLog(t.Context())
		if err != nil || !done {
			t.Fatalf("%v, %v", done, err)
		}
		var left bool
		for _, file := range []string{path, path + "-wal"} {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			left = left || bytes.Contains(data, []byte("not for ever"))
		}
		if left == overwrites {
			t.Errorf("overwriting %v: what was deleted is left: %v", overwrites, left)
		}
		var on int
		write(t, s, func(tx *Tx) error { return tx.QueryRow(`PRAGMA secure_delete`).Scan(&on) })
		if on != 0 {
			t.Errorf("the next transaction overwrites too: %d", on)
		}
	}
}

// A reader keeps the log; nobody waits for it.
func TestEmptyLogWaitsForNobody(t *testing.T) {
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "blufio.db"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write(t, s, func(tx *Tx) error { _, err := tx.Exec(`CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)`); return err })
	rows, err := s.Query(context.WithoutCancel(t.Context()), `SELECT x FROM t`)
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	write(t, s, func(tx *Tx) error { _, err := tx.Exec(`DELETE FROM t`); return err })
	if done, err := s.EmptyLog(t.Context()); done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
	rows.Close()
	if done, err := s.EmptyLog(t.Context()); !done || err != nil {
		t.Errorf("%v, %v", done, err)
	}
}

func write(t *testing.T, s *Store, fn func(tx *Tx) error) {
	t.Helper()
	if err := s.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}
