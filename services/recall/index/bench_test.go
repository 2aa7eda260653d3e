// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "modernc.org/sqlite"
	_ "modernc.org/sqlite/vec"
)

// BenchmarkSearch compares, in one run, an exact product with every vector, this index, and the KNN search of
// sqlite-vec, for the ten nearest. What it prints goes into BENCHMARKS.md.
//
//	go test -run '^$' -bench Search -benchtime 200x ./services/recall/index
func BenchmarkSearch(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		for _, d := range datas {
			vectors, queries := d.make(b, n, 100)
			at := fmt.Sprintf("%s/%d/", d.name, n)
			b.Run(at+"exact", func(b *testing.B) {
				measure(b, vectors, queries, int64(4*dim*n), func(q []float32) []Hit { return exact(vectors, q, 10) })
			})
			for _, mb := range []int64{16, 64} {
				if n == 10_000 && mb > 16 {
					continue
				}
				x := filled(b, vectors, mb<<20)
				b.Run(fmt.Sprintf("%sindex-%dMB-%dbits", at, mb, x.Bits()), func(b *testing.B) {
					var hits []Hit
					measure(b, vectors, queries, x.Bytes(), func(q []float32) []Hit {
						hits = x.Search(hits[:0], "owner", q, 10)
						return hits
					})
				})
			}
			b.Run(at+"vec0", func(b *testing.B) { vec0(b, vectors, queries) })
		}
	}
}

// measure prints what a search takes and finds.
func measure(b *testing.B, vectors, queries [][]float32, bytes int64, search func(q []float32) []Hit) {
	share := 0.0
	for _, q := range queries {
		share += found(vectors, q, search(q), 10)
	}
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		q := queries[len(took)%len(queries)]
		began := time.Now()
		search(q)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(float64(bytes)/1e6, "MB")
	b.ReportMetric(share/float64(len(queries)), "recall@10")
}

// vec0 measures sqlite-vec on a database with a cache that holds all of it; its memory is the vectors alone.
func vec0(b *testing.B, vectors, queries [][]float32) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "vec.db")+"?_pragma=cache_size(-400000)&_pragma=synchronous(off)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(fmt.Sprintf(`CREATE VIRTUAL TABLE v USING vec0(embedding float[%d] distance_metric=cosine)`, dim)); err != nil {
		b.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	for i, v := range vectors {
		if _, err := tx.Exec(`INSERT INTO v (rowid, embedding) VALUES (?, ?)`, i, blob(v)); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	search, err := db.Prepare(`SELECT rowid, distance FROM v WHERE embedding MATCH ? AND k = 10 ORDER BY distance`)
	if err != nil {
		b.Fatal(err)
	}
	defer search.Close()
	measure(b, vectors, queries, int64(4*dim*len(vectors)), func(q []float32) (hits []Hit) {
		rows, err := search.Query(blob(q))
		if err != nil {
			b.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var h Hit
			if err := rows.Scan(&h.ID, &h.Score); err != nil {
				b.Fatal(err)
			}
			hits = append(hits, h)
		}
		return hits
	})
}

func blob(v []float32) []byte {
	out := make([]byte, 0, 4*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}
