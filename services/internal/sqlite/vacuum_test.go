// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// filled is a store of some 8 MiB of which all but every tenth row was deleted, and the rows left.
func filled(t *testing.T) (s *Store, left []string) {
	t.Helper()
	s = openTest(t, Options{})
	write(t, s, func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO t (v) WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)
			SELECT n || hex(zeroblob(2000)) FROM c`)
		return err
	})
	write(t, s, func(tx *Tx) error { _, err := tx.Exec(`DELETE FROM t WHERE id % 10 <> 0`); return err })
	for n := 10; n <= 2000; n += 10 {
		left = append(left, fmt.Sprint(n, strings.Repeat("0", 4000)))
	}
	emptyLog(t, s)
	return s, left
}

func emptyLog(t *testing.T, s *Store) {
	t.Helper()
	if done, err := s.EmptyLog(t.Context()); !done || err != nil {
		t.Fatalf("empty log: %v, %v", done, err)
	}
}

// The file of a database from which much was deleted shrinks, in transactions of a few pages,
// and a quarter of it stays for what comes.
func TestVacuum(t *testing.T) {
	s, left := filled(t)
	before, commits := s.Stats().DBBytes, s.Stats().Commits
	if err := s.Vacuum(t.Context()); err != nil {
		t.Fatal(err)
	}
	steps := s.Stats().Commits - commits
	emptyLog(t, s)
	after := s.Stats().DBBytes
	if after > before/2 {
		t.Errorf("%d bytes, before %d", after, before)
	}
	if gone := before - after; gone > int64(steps+1)*vacuumPages*4096 {
		t.Errorf("%d bytes went in %d transactions: they are not bounded", gone, steps)
	}
	if got := values(t, s); !slices.Equal(got, left) {
		t.Errorf("%d rows are left, want %d", len(got), len(left))
	}
	var free, all int
	if err := s.QueryRow(t.Context(), "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count").Scan(&free, &all); err != nil || free < all/8 {
		t.Errorf("%d of %d pages are free, %v", free, all, err)
	}
	commits = s.Stats().Commits
	if err := s.Vacuum(t.Context()); err != nil || s.Stats().Commits != commits {
		t.Errorf("nothing is to be done, and %d commits did it, %v", s.Stats().Commits-commits, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := Check(t.Context(), s.meter.path); err != nil || c.Err() != nil {
		t.Errorf("%v, %v", err, c.Err())
	}
}

// One call ends, however much there is to do, and is no more work for the disk than it may be.
func TestVacuumIsBounded(t *testing.T) {
	s := openTest(t, Options{})
	write(t, s, func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO t (v) VALUES (hex(zeroblob(16 << 20)))`)
		return err
	})
	write(t, s, func(tx *Tx) error { _, err := tx.Exec(`DELETE FROM t`); return err })
	emptyLog(t, s)
	for before := s.Stats().DBBytes; ; {
		if err := s.Vacuum(t.Context()); err != nil {
			t.Fatal(err)
		}
		emptyLog(t, s)
		after := s.Stats().DBBytes
		if before-after > (vacuumSteps+1)*vacuumPages*4096 {
			t.Errorf("from %d to %d bytes in one call", before, after)
		}
		if after == before {
			if after > 1<<20 {
				t.Errorf("%d bytes are left", after)
			}
			return
		}
		before = after
	}
}

// Others' writes come in between, each in its turn.
func TestWritesWhileVacuuming(t *testing.T) {
	s, left := filled(t)
	done := make(chan error, 1)
	go func() { done <- s.Vacuum(t.Context()) }()
	for n := 0; ; n++ {
		if err := s.Write(t.Context(), put("new")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if got := values(t, s); err != nil || !slices.Equal(got, append(left, slices.Repeat([]string{"new"}, n+1)...)) {
				t.Errorf("%d rows, %v", len(got), err)
			}
			if n < 2 {
				t.Errorf("%d writes came in between", n)
			}
			return
		default:
		}
	}
}

// A copy that is being taken is of the moment at which it began.
func TestCopyWhileVacuuming(t *testing.T) {
	s, left := filled(t)
	to := filepath.Join(t.TempDir(), "copy.db")
	once := false
	err := s.Copy(t.Context(), to, func(_, _ int64) {
		if once {
			return
		}
		once = true
		if err := s.Vacuum(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Check(t.Context(), to); err != nil || c.Err() != nil || c.Bytes < 6<<20 {
		t.Errorf("the copy has %d bytes, %v, %v", c.Bytes, err, c.Err())
	}
	if got := values(t, openTest(t, Options{Path: to})); !slices.Equal(got, left) {
		t.Errorf("%d rows in the copy, want %d", len(got), len(left))
	}
	emptyLog(t, s)
	if got := values(t, s); !slices.Equal(got, left) || s.Stats().DBBytes > 4<<20 {
		t.Errorf("%d rows, want %d, in %d bytes", len(got), len(left), s.Stats().DBBytes)
	}
}

// What was moved and is overwritten then is not left where it was before.
func TestVacuumLeavesNothingBehind(t *testing.T) {
	s, _ := filled(t)
	secret := strings.Repeat("not for ever ", 300)
	write(t, s, func(tx *Tx) error { // at the end of the file, and then not
		_, err := tx.Exec(`INSERT INTO t (v) WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)
			SELECT n || hex(zeroblob(2000)) FROM c`)
		return err
	})
	if err := s.Write(t.Context(), put(secret)); err != nil {
		t.Fatal(err)
	}
	emptyLog(t, s)
	write(t, s, func(tx *Tx) error {
		_, err := tx.Exec(`DELETE FROM t WHERE id > 2000 AND v NOT LIKE 'not%'`)
		return err
	})
	if err := s.Vacuum(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, s, func(tx *Tx) error {
		if err := tx.Overwrite(); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM t WHERE v LIKE 'not%'`)
		return err
	})
	emptyLog(t, s)
	for _, file := range []string{s.meter.path, s.meter.path + "-wal"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte("not for ever")) {
			t.Errorf("%s has it", filepath.Base(file))
		}
	}
}
