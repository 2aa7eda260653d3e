// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"
)

// testSchema is one table, t.
var testSchema = Schema{Room: "test", Steps: []string{
	`CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL UNIQUE ON CONFLICT REPLACE) STRICT`,
	`DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL) STRICT; CREATE TABLE u (k TEXT PRIMARY KEY) STRICT, WITHOUT ROWID`,
}}

// openTest opens a migrated store in a directory of its own, unless o names a
// path, and closes it at the end.
func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "test.db")
	}
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Migrate(t.Context(), testSchema); err != nil && !errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
	return s
}

// put is a write function that inserts v.
func put(v string) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Exec(insert, v)
		return err
	}
}

// values are what t holds, in order of insertion.
func values(t testing.TB, s *Store) []string {
	t.Helper()
	rows, err := s.Query(context.Background(), `SELECT v FROM t ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

// A long read holds up neither a Shrink nor, because of it, other reads.
func TestShrinkWaitsForNoReader(t *testing.T) {
	s := openTest(t, Options{CacheKiB: 2048})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	long, err := s.readers.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	for range 3 {
		if _, err := s.Shrink(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := rowsOf(s, `SELECT v FROM t`); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.readers.Stats().OpenConnections; n != 2 {
		t.Errorf("%d readers, want the busy one and one more", n)
	}
	if _, err := s.Shrink(ctx); err != nil {
		t.Fatal(err)
	}
	if n := s.readers.Stats().OpenConnections; n != 1 {
		t.Errorf("%d readers after the last, want the busy one", n)
	}
}

// Shrink says how much it was: what a reader of everything had filled, and nothing the
// second time.
func TestShrinkTellsWhatItFreed(t *testing.T) {
	s := openTest(t, Options{CacheKiB: 2048})
	if err := s.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO t (v) WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000) SELECT hex(randomblob(500)) FROM c`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := rowsOf(s, `SELECT v FROM t`); n != 1000 || err != nil {
		t.Fatalf("%d rows, %v", n, err)
	}
	const least, most = 1 << 20, 2 * 2 * 2048 << 10 // of the writer's cache and one reader's
	if freed, err := s.Shrink(t.Context()); freed < least || freed > most || err != nil {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	if freed, err := s.Shrink(t.Context()); freed > least/8 || err != nil {
		t.Errorf("freed %d bytes once more, %v", freed, err)
	}
}
