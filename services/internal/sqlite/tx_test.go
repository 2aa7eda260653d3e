// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestSameQueryNested: one prepared statement has one cursor; the second use
// of the same text must not disturb the first.
func TestSameQueryNested(t *testing.T) {
	s := openTest(t, Options{})
	const all, one = `SELECT id FROM t ORDER BY id`, `SELECT v FROM t WHERE id = ?`
	err := s.Write(t.Context(), func(tx *Tx) error {
		for i := range 3 {
			if err := put(fmt.Sprint(i))(tx); err != nil {
				return err
			}
		}
		pairs := 0
		outer, err := tx.Query(all)
		if err != nil {
			return err
		}
		for outer.Next() {
			inner, err := tx.Query(all)
			if err != nil {
				return err
			}
			for inner.Next() {
				pairs++
			}
			if err := inner.Close(); err != nil {
				return err
			}
		}
		if pairs != 9 {
			t.Errorf("%d pairs, want 9", pairs)
		}
		var a, b string
		first, second := tx.QueryRow(one, 1), tx.QueryRow(one, 2)
		if err := errors.Join(first.Scan(&a), second.Scan(&b)); err != nil {
			return err
		}
		if a != "0" || b != "1" {
			t.Errorf("rows %q and %q", a, b)
		}
		return outer.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStatementsAreKeptAndBounded(t *testing.T) {
	s := openTest(t, Options{})
	for i := range keptStatements + 20 {
		err := s.Write(t.Context(), func(tx *Tx) error {
			if err := put("x")(tx); err != nil { // used all the time: must stay
				return err
			}
			_, err := tx.Exec(fmt.Sprintf(`UPDATE t SET v = 'y' WHERE id = %d`, -i))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	kept := s.writer.stmts.byText
	if len(kept) != keptStatements || kept[insert] == nil {
		t.Errorf("%d statements kept, the busy one among them: %v", len(kept), kept[insert] != nil)
	}
	if _, err := s.Shrink(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Write(t.Context(), put("z")); err != nil {
		t.Error(err)
	}
	if n := len(s.writer.stmts.byText); n > 10 {
		t.Errorf("%d statements kept after Shrink", n)
	}
}

func TestTxIsOver(t *testing.T) {
	s := openTest(t, Options{})
	var leaked *Tx
	if err := s.Write(t.Context(), func(tx *Tx) error { leaked = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	_, err1 := leaked.Exec(insert, "x")
	_, err2 := leaked.Query(`SELECT 1`)
	var n int
	err3 := leaked.QueryRow(`SELECT 1`).Scan(&n)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, errTxOver) {
			t.Errorf("got %v", err)
		}
	}
}

func TestTimeArgument(t *testing.T) {
	s := openTest(t, Options{})
	at := time.UnixMilli(1_700_000_000_123)
	var got int64
	err := s.Write(t.Context(), func(tx *Tx) error { return tx.QueryRow(`SELECT ?`, at).Scan(&got) })
	if err != nil || got != at.UnixMilli() {
		t.Errorf("got %d, %v", got, err)
	}
}

// TestReadersCannotWrite, and see nothing of a transaction before its commit.
func TestReaders(t *testing.T) {
	s := openTest(t, Options{})
	var n int
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := put("x")(tx); err != nil {
			return err
		}
		return s.QueryRow(t.Context(), `SELECT count(*) FROM t`).Scan(&n)
	})
	if err != nil || n != 0 {
		t.Errorf("a reader sees %d uncommitted rows, %v", n, err)
	}
	rows, err := s.Query(t.Context(), `DELETE FROM t`)
	if err == nil {
		rows.Next()
		err = errors.Join(rows.Err(), rows.Close())
	}
	if err == nil || len(values(t, s)) != 1 {
		t.Errorf("a reader deleted: %v", err)
	}
}

func TestForeignKeysAndQuotes(t *testing.T) {
	s := openTest(t, Options{})
	err := s.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`CREATE TABLE child (t INTEGER NOT NULL REFERENCES t (id)); INSERT INTO child VALUES (99)`)
		return err
	})
	if err == nil {
		t.Error("a dangling reference was accepted")
	}
	var v string
	if err := s.QueryRow(t.Context(), `SELECT "no_such_column"`).Scan(&v); err == nil {
		t.Errorf("a misspelt column was read as the string %q", v)
	}
}
