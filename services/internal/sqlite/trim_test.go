// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !race

// The race detector's own memory is large, and counts.

package sqlite

import (
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
)

// outside is what this process holds beside Go's memory and its program, in KiB; what
// it means is the difference between two readings.
func outside(t *testing.T) (kib int) {
	t.Helper()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("only Linux tells it: ", err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		t.Fatal(err)
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return kib - int(s[0].Value.Uint64()-s[1].Value.Uint64())>>10
}

// What the database took for a burst is given back to the system, not only to the
// allocator below it.
func TestShrinkReturnsMemory(t *testing.T) { shrinkReturns(t) }

func shrinkReturns(t *testing.T) {
	t.Helper()
	s := openTest(t, Options{CacheKiB: 2048})
	if err := s.Write(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec(`INSERT INTO t (v) WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000)
			SELECT hex(randomblob(n * 10)) FROM c`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	before := outside(t)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if _, err := rowsOf(s, `SELECT v FROM t ORDER BY v`); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	grown := outside(t) - before
	if _, err := s.Shrink(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := outside(t) - before
	t.Logf("grown by %d KiB, of which %d are left", grown, left)
	if grown < 2048 || left > grown/3 {
		t.Errorf("grown by %d KiB, of which %d are left", grown, left)
	}
	if n, err := rowsOf(s, `SELECT v FROM t`); n != 1000 || err != nil {
		t.Errorf("afterwards: %d rows, %v", n, err)
	}
}
