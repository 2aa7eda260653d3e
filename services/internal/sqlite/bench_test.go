// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

const insert = `INSERT INTO t (v) VALUES (?)`

// BenchmarkWrite shows what group commit gains: compare its writes/s with the
// commits/s, and both with BenchmarkRawCommit in the same run.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprintf("callers=%d", n), func(b *testing.B) {
			s := openTest(b, Options{})
			before := s.Stats().Commits
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					for k := i; k < b.N; k += n {
						if err := s.Write(context.Background(), func(tx *Tx) error {
							_, err := tx.Exec(insert, "some text of a usual length")
							return err
						}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			seconds := b.Elapsed().Seconds()
			b.ReportMetric(float64(s.Stats().Commits-before)/seconds, "commits/s")
			b.ReportMetric(float64(b.N)/seconds, "writes/s")
		})
	}
}

// BenchmarkRawCommit is the yardstick: a one-row commit without the store.
func BenchmarkRawCommit(b *testing.B) {
	s := openTest(b, Options{})
	db, err := openDB(writerDSN(Options{Path: s.meter.path, CacheKiB: 1024}), 1)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for b.Loop() {
		if _, err := db.Exec(insert, "some text of a usual length"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkQueryRow is a small read, with and without kept prepared statements.
func BenchmarkQueryRow(b *testing.B) {
	for _, keep := range []int{keptReads, 0} {
		b.Run(fmt.Sprintf("kept=%d", keep), func(b *testing.B) {
			s := openTest(b, Options{})
			s.kept.limit = keep
			if err := s.Write(b.Context(), put("x")); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				var v string
				if err := s.QueryRow(context.Background(), `SELECT v FROM t WHERE id = ? AND v <> ? ORDER BY id DESC LIMIT 1`, 1, "y").Scan(&v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSmallTransaction is the processor's share of a small write, without
// the disk's: three statements, with and without kept prepared statements.
func BenchmarkSmallTransaction(b *testing.B) {
	for _, keep := range []int{keptStatements, 0} {
		b.Run(fmt.Sprintf("kept=%d", keep), func(b *testing.B) {
			s := openTest(b, Options{})
			if _, err := s.writer.conn.ExecContext(b.Context(), `PRAGMA synchronous = OFF`); err != nil {
				b.Fatal(err)
			}
			s.writer.stmts.clear()
			s.writer.stmts.limit = keep
			for b.Loop() {
				if err := s.Write(context.Background(), func(tx *Tx) error {
					var n int
					if _, err := tx.Exec(insert, "some text of a usual length"); err != nil {
						return err
					}
					if err := tx.QueryRow(`SELECT count(*) FROM t WHERE id = ?`, 1).Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(`UPDATE t SET v = ? WHERE id = ?`, "other", 1)
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
