// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
)

const plenty = 1 << 30

// Against an exact comparison at most two in a hundred of the ten nearest are others, and the cosines are right to three digits.
func TestRecall(t *testing.T) {
	n := 10_000
	if testing.Short() || raced {
		n = 2000
	}
	for _, d := range datas {
		t.Run(d.name, func(t *testing.T) {
			vectors, queries := d.make(t, n, 100)
			x := filled(t, vectors, 16<<20)
			if x.Bits() != maxBits {
				t.Errorf("%d bits are left in 16 MB", x.Bits())
			}
			got, worst := recallAt10(x, vectors, queries), 0.0
			for _, q := range queries {
				for _, h := range x.Search(nil, "owner", q, 10) {
					worst = max(worst, math.Abs(float64(h.Score-dot(vectors[h.ID], q))))
				}
			}
			t.Logf("%d vectors: recall@10 %.3f, a cosine is off by %.4f at most", n, got, worst)
			if got < 0.98 || worst > 0.003 {
				t.Errorf("%.3f of the ten nearest were found, and a cosine is off by %.4f", got, worst)
			}
		})
	}
}

// Each plane that is given up costs precision, but never as much as having no vector.
func TestCoarse(t *testing.T) {
	vectors, queries := sentences(t, 2000, 50)
	for bits, want := range map[int]float64{8: 0.99, 6: 0.96, 4: 0.86, 2: 0.55} {
		x := filled(t, vectors, plenty)
		before := x.Bytes()
		for x.Bits() > bits {
			x.coarsen()
		}
		got := recallAt10(x, vectors, queries)
		t.Logf("%d bits, %d bytes: recall@10 %.3f", bits, x.Bytes(), got)
		if got < want {
			t.Errorf("%d bits: recall@10 is %.3f, not %.2f", bits, got, want)
		}
		if saved := before - x.Bytes(); saved < int64((maxBits-bits)*48*len(vectors)) {
			t.Errorf("%d bits save only %d bytes", bits, saved)
		}
		if err := x.Put("owner", 0, vectors[0]); err != nil {
			t.Fatal(err)
		}
		if h := x.Search(nil, "owner", vectors[0], 1); h[0].ID != 0 || h[0].Score < 0.9 {
			t.Errorf("%d bits: what was put then is found as %v", bits, h)
		}
	}
}

// Memory stays below the limit, precision goes first, and at the end an error says so; what fits is held.
func TestBound(t *testing.T) {
	const limit = 1 << 20
	vectors, _ := clusters(t, 9000, 1)
	x, held, bits := New(dim, limit), 0, maxBits
	for i, v := range vectors {
		err := x.Put(fmt.Sprint("owner", i%7), int64(i), v)
		if x.Bytes() > limit {
			t.Fatalf("%d bytes after %d vectors", x.Bytes(), i)
		}
		if x.Bits() > bits {
			t.Fatalf("from %d bits to %d", bits, x.Bits())
		}
		bits = x.Bits()
		if err == nil {
			held++
			continue
		}
		if !errors.Is(err, ErrFull) || bits != MinBits {
			t.Fatalf("%v with %d bits", err, bits)
		}
	}
	if held == len(vectors) || held < 4000 || x.Len() != held {
		t.Errorf("%d of %d were put, %d are there", held, len(vectors), x.Len())
	}
	if err := x.Put("owner0", 0, vectors[1]); err != nil {
		t.Errorf("a full index refuses to replace: %v", err)
	}
	x.Reset()
	if x.Bytes() != 0 || x.Len() != 0 || x.Bits() != maxBits || x.Search(nil, "", vectors[0], 1) != nil {
		t.Errorf("after Reset there are %d bytes, %d vectors, %d bits", x.Bytes(), x.Len(), x.Bits())
	}
}

// What Bytes says is what the heap says, and it comes back.
func TestBytes(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	vectors, _ := clusters(t, 6000, 1)
	for _, owners := range []int{1, 600} {
		before := heap()
		x := New(dim, plenty)
		for i, v := range vectors {
			if err := x.Put(fmt.Sprint("owner", i%owners), int64(i), v); err != nil {
				t.Fatal(err)
			}
		}
		took, said := heap()-before, x.Bytes()
		t.Logf("%d owners: %d bytes taken, %d said", owners, took, said)
		if float64(took) > 1.1*float64(said) || float64(took) < 0.8*float64(said) {
			t.Errorf("%d owners: %d bytes are taken and %d said", owners, took, said)
		}
		for i := range len(vectors) - 10 {
			x.Delete(int64(i))
		}
		if left := heap() - before; left > 100_000 || x.Bytes() > 60_000 {
			t.Errorf("%d owners: with 10 vectors %d bytes are left, and %d said", owners, left, x.Bytes())
		}
		runtime.KeepAlive(x)
	}
	runtime.KeepAlive(vectors)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestOwners(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	v := random(r, nil, 1)
	x := New(dim, plenty)
	for id, owner := range []string{"anna", "ben", "anna"} {
		if err := x.Put(owner, int64(id), v); err != nil {
			t.Fatal(err)
		}
	}
	for owner, want := range map[string][]int64{"anna": {0, 2}, "ben": {1}, "": {0, 1, 2}, "nobody": nil} {
		if got := ids(x.Search(nil, owner, v, 5)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, not %v", owner, got, want)
		}
	}
	if err := x.Put("ben", 0, v); err != nil { // moves
		t.Fatal(err)
	}
	if got := ids(x.Search(nil, "ben", v, 5)); !slices.Equal(got, []int64{0, 1}) || x.Len() != 3 {
		t.Errorf("after a move %v of %d", got, x.Len())
	}
}

func ids(hits []Hit) (out []int64) {
	for _, h := range hits {
		out = append(out, h.ID)
	}
	return out
}

// What cannot be a vector is refused, and what says nothing finds nothing.
func TestOdd(t *testing.T) {
	x := New(3, plenty)
	for _, v := range [][]float32{nil, {1}, {1, 2, 3, 4}, {1, float32(math.NaN()), 0}, {float32(math.Inf(1)), 0, 0}} {
		if x.Put("o", 1, v) == nil {
			t.Errorf("%v is taken", v)
		}
		if hits := x.Search(nil, "o", v, 1); hits != nil {
			t.Errorf("%v finds %v", v, hits)
		}
	}
	for id, v := range [][]float32{{0, 0, 0}, {1e30, 0, 0}, {1e-30, 1e-30, 0}, {-5, 0, 0}} {
		if err := x.Put("o", int64(id), v); err != nil {
			t.Error(err)
		}
	}
	hits := x.Search(nil, "o", []float32{2, 0, 0}, 9)
	if !slices.Equal(ids(hits), []int64{1, 2, 0, 3}) || math.Abs(float64(hits[0].Score)-1) > 0.01 || math.Abs(float64(hits[3].Score)+1) > 0.01 {
		t.Errorf("found %v", hits)
	}
	if x.Search(nil, "o", []float32{0, 0, 0}, 9) != nil || x.Search(nil, "o", []float32{1, 0, 0}, 0) != nil {
		t.Error("a question that says nothing, or for nothing, finds something")
	}
}

// The same from many sides at once; the race detector looks on.
func TestConcurrent(t *testing.T) {
	vectors, _ := clusters(t, 300, 1)
	x := New(dim, 100_000)
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(4, uint64(g)))
			for range 400 {
				i := r.IntN(len(vectors))
				switch r.IntN(8) {
				case 0, 1, 2:
					if err := x.Put(fmt.Sprint(i%3), int64(i), vectors[i]); err != nil && !errors.Is(err, ErrFull) {
						t.Error(err)
					}
				case 3:
					x.Delete(int64(i))
				case 4:
					_ = x.Len() + x.Bits() + int(x.Bytes())
				default:
					for _, h := range x.Search(nil, fmt.Sprint(i%3), vectors[i], 5) {
						if h.ID%3 != int64(i%3) {
							t.Errorf("%d is found for another owner", h.ID)
						}
					}
				}
				if g == 0 && r.IntN(100) == 0 {
					x.Reset()
				}
			}
		})
	}
	group.Wait()
}
