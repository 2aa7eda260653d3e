// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// Readers keep a bounded number of statements, whatever is asked, by how many, and
// whoever has them closed meanwhile; answers are right all the same.
func TestReadStatementsAreKept(t *testing.T) {
	s := openTest(t, Options{})
	if err := s.Write(t.Context(), put("x")); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for i := range 300 {
				var v, number int
				query := fmt.Sprintf(`SELECT count(*), %d FROM t WHERE v = ?`, (i*(n+1))%(2*keptReads))
				if err := s.QueryRow(context.Background(), query, "x").Scan(&v, &number); err != nil || v != 1 || number != (i*(n+1))%(2*keptReads) {
					t.Errorf("%s: %d, %d, %v", query, v, number, err)
					return
				}
				if got, err := rowsOf(s, `SELECT v FROM t`); err != nil || got != 1 {
					t.Errorf("%d rows, %v", got, err)
					return
				}
			}
		})
	}
	group.Go(func() {
		for range 10 {
			if _, err := s.Shrink(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	if _, err := rowsOf(s, `SELECT v FROM t`); err != nil { // the last of all may have been a Shrink
		t.Fatal(err)
	}
	if n := len(s.kept.byText); n == 0 || n > keptReads {
		t.Errorf("%d statements are kept, at most %d may be", n, keptReads)
	}
	for text, st := range s.kept.byText {
		if st.held != 0 {
			t.Errorf("%s is held %d times", text, st.held)
		}
	}
	if _, err := s.Shrink(t.Context()); err != nil || len(s.kept.byText) != 0 {
		t.Errorf("after Shrink: %v, %d are kept", err, len(s.kept.byText))
	}
}

// Rows that are being read outlive the statement they came from.
func TestRowsOutliveTheirStatement(t *testing.T) {
	s := openTest(t, Options{Readers: 1})
	for _, v := range []string{"a", "b", "c"} {
		if err := s.Write(t.Context(), put(v)); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := s.Query(t.Context(), `SELECT v FROM t ORDER BY v`)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for rows.Next() {
		s.kept.clear()
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		got += v
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || got != "abc" {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.QueryRow(t.Context(), `SELECT nothing FROM nowhere`).Scan(&got); err == nil {
		t.Error("a statement that does not compile has no error")
	}
	if n := len(s.kept.byText); n != 0 {
		t.Errorf("%d are kept", n)
	}
}

// rowsOf counts what a query returns.
func rowsOf(s *Store, query string) (n int, err error) {
	rows, err := s.Query(s.writer.ctx, query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}
