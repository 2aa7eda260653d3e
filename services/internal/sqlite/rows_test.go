// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"fmt"
	"slices"
	"testing"
)

// More rows than one transaction takes are copied, and only what changed is counted.
func TestCopyRows(t *testing.T) {
	from, to := openTest(t, Options{}), openTest(t, Options{})
	var want []string
	if err := from.Write(t.Context(), func(tx *Tx) error {
		for i := range copiedRows + 3 {
			v := fmt.Sprint(i)
			if want = append(want, v); put(v)(tx) != nil {
				return put(v)(tx)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{len(want), 0} {
		got, err := CopyRows(t.Context(), from, to, `SELECT v FROM t ORDER BY id`, `INSERT INTO t (v) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM t WHERE v = ?1)`)
		if err != nil || got != n {
			t.Errorf("%d rows, %v; want %d", got, err, n)
		}
	}
	if got := values(t, to); !slices.Equal(got, want) {
		t.Errorf("%d rows came of %d", len(got), len(want))
	}
	if _, err := CopyRows(t.Context(), from, to, `SELECT v FROM t`, `INSERT INTO nowhere VALUES (?)`); err == nil {
		t.Error("no error from a table that is not there")
	}
}
