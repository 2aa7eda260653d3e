// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is an index as one would write it down first.
type model map[int64]held

type held struct {
	owner string
	vec   []float32
}

// nearest are the ids of an owner, the best first.
func (m model) nearest(owner string, query []float32) (out []Hit) {
	for id, h := range m {
		if owner == "" || h.owner == owner {
			out = append(out, Hit{id, dot(h.vec, query)})
		}
	}
	slices.SortFunc(out, func(a, b Hit) int {
		if a.Score > b.Score {
			return -1
		}
		return 1
	})
	return out
}

// play does what the bytes say to an index and to a model, and compares them after each.
func play(t *testing.T, ops []byte, limit int64) {
	const size = 70 // not a multiple of 64
	x, m := New(size, limit), model{}
	vector := func(seed byte) []float32 {
		r, v := rand.New(rand.NewPCG(5, uint64(seed))), make([]float32, size)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		normalize(v)
		return v
	}
	for ; len(ops) >= 3; ops = ops[3:] {
		id, v := int64(ops[1]), vector(ops[2])
		owner := fmt.Sprint(ops[2] % 4)
		switch ops[0] % 8 {
		default:
			err := x.Put(owner, id, v)
			if err != nil && !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			if err == nil {
				m[id] = held{owner, v}
			}
		case 5, 6:
			x.Delete(id)
			delete(m, id)
		case 7:
			if ops[1] == 0 {
				x.Reset()
				m = model{}
			}
		}
		check(t, x, m, owner, v)
	}
}

// check holds a search for the three nearest against the model: each is the owner's, its cosine is as near to the true one as the bits
// allow, and so is the cosine of the one that belongs in its place.
func check(t *testing.T, x *Index, m model, owner string, query []float32) {
	t.Helper()
	if x.Len() != len(m) || x.Bytes() > x.Limit() || (len(m) == 0) != (x.Bytes() == 0) {
		t.Fatalf("%d vectors in %d bytes, not %d in at most %d", x.Len(), x.Bytes(), len(m), x.Limit())
	}
	off := map[int]float32{8: 0.01, 7: 0.02, 6: 0.04, 5: 0.08, 4: 0.15, 3: 0.3, 2: 0.6}[x.Bits()]
	for _, who := range []string{owner, ""} {
		want, got := m.nearest(who, query), x.Search(nil, who, query, 3)
		if len(got) != min(3, len(want)) {
			t.Fatalf("%d were found for %q, of %d", len(got), who, len(want))
		}
		for i, h := range got {
			is, ok := m[h.ID]
			if !ok || who != "" && is.owner != who {
				t.Fatalf("%d was found for %q, and is %v of %q", h.ID, who, ok, is.owner)
			}
			if truth := dot(is.vec, query); abs(truth-h.Score) > off || want[i].Score-truth > 2*off {
				t.Fatalf("with %d bits %d is at %.3f, found at %.3f; the one for this place is at %.3f", x.Bits(), h.ID, truth, h.Score, want[i].Score)
			}
		}
	}
}

func abs(x float32) float32 { return max(x, -x) }

// Whatever is done, in whatever order, an index is as its model, with room and without.
func TestOperations(t *testing.T) {
	seeds := uint64(5)
	if raced {
		seeds = 1
	}
	for _, limit := range []int64{plenty, 20_000, 6000, 100} {
		for seed := range seeds {
			r, ops := rand.New(rand.NewPCG(6, seed)), make([]byte, 3*600)
			for i := range ops {
				ops[i] = byte(r.Uint32())
			}
			play(t, ops, limit)
		}
	}
}

func FuzzOperations(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x00\x02\x03\x05\x01\x00\x07\x00\x00"), uint16(9000))
	f.Add([]byte("aAbaBcaCdaDeaEfaFgaGhaHiaIjaJkaKlaLm"), uint16(1))
	f.Fuzz(func(t *testing.T, ops []byte, limit uint16) {
		play(t, ops[:min(len(ops), 3*400)], int64(limit))
	})
}

// keep leaves the best in front, the worst of them last.
func FuzzKeep(f *testing.F) {
	f.Add([]byte{3, 1, 2, 2, 9}, 2)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, scores []byte, n int) {
		var c []candidate
		for i, s := range scores {
			c = append(c, candidate{score: float32(s), row: uint32(i)})
		}
		slices.Sort(scores)
		slices.Reverse(scores)
		got := keep(c, n)
		if len(got) != max(min(n, len(scores)), 0) {
			t.Fatalf("%d are kept of %d, not %d", len(got), len(scores), n)
		}
		if len(got) > 0 && got[len(got)-1].score != float32(scores[len(got)-1]) {
			t.Errorf("the last is %v, not %v", got[len(got)-1].score, scores[len(got)-1])
		}
		slices.SortFunc(got, func(a, b candidate) int { return int(b.score - a.score) })
		for i := range got {
			if got[i].score != float32(scores[i]) {
				t.Fatalf("%v is in place of %v", got[i].score, scores[i])
			}
		}
	})
}
