// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// How many vectors are looked at more closely than by their signs: so many for each of the first that are wanted, fewer for
// each behind them, where a place more or less says little, and one in so many of all. With fewer the nearest are missed; with
// more nothing is gained, for then it is the 8 bits that lose.
const (
	firstHits = 10
	perHit    = 128
	perLater  = 24
	ofAll     = 32
)

// Most of these fall behind in their first few planes already: only so many for each that is wanted, and one in so many, are
// looked at in the others.
const (
	firstPlanes = 3
	perClose    = 8
	ofClose     = 8
)

// candidate is a row that may be among the best.
type candidate struct {
	score    float32
	seg, row uint32
	sum      int32 // with the question, of the planes looked at; 16 000 numbers fit
}

// search appends the k best rows of s.segs to dst.
func (s *scratch) search(dst []Hit, k, planes int) []Hit {
	all := 0
	for _, seg := range s.segs {
		all += seg.rows
	}
	k = min(k, all)
	wanted := min(all, perHit*min(k, firstHits)+perLater*max(k-firstHits, 0)+all/ofAll)
	s.best, s.floor = s.best[:0], float32(math.Inf(-1))
	for at, seg := range s.segs {
		s.scan(uint32(at), seg, wanted)
	}
	best := keep(s.best, wanted)
	if planes > firstPlanes {
		s.compare(best, 0, firstPlanes)
		best = keep(best, perClose*k+len(best)/ofClose)
		s.compare(best, firstPlanes, planes)
	} else {
		s.compare(best, 0, planes)
	}
	best = keep(best, k)
	from := len(dst)
	for _, b := range best {
		c, row := s.segs[b.seg].at(int(b.row))
		dst = append(dst, Hit{c.ids[row], min(max(b.score, -1), 1)})
	}
	slices.SortFunc(dst[from:], func(a, b Hit) int { return cmp.Or(-cmp.Compare(a.Score, b.Score), cmp.Compare(a.ID, b.ID)) })
	return dst
}

// scan holds the signs of a segment's rows against the question, and adds those that may be among the best to s.best.
func (s *scratch) scan(at uint32, seg *segment, wanted int) {
	words := s.words
	for n, c := range seg.chunks {
		signs := c.planes[0][:c.rows*words]
		for row := 0; len(signs) >= words; row++ {
			score := c.sign[row] * float32(2*againstSigns(s.rough, signs)-s.roughSum)
			signs = signs[words:]
			if score <= s.floor {
				continue
			}
			s.best = append(s.best, candidate{score: score, seg: at, row: uint32(n*mostRoom + row)})
			if len(s.best) >= 2*wanted {
				s.best = keep(s.best, wanted)
				s.floor = s.best[wanted-1].score
			}
		}
	}
}

// againstSigns is the sum of those of the question's numbers where the row has a 1.
func againstSigns(question [][roughBits]uint64, row []uint64) int {
	row = row[:len(question)]
	sum := 0
	for w := range question {
		q, r := &question[w], row[w]
		n := -bits.OnesCount64(q[3] & r)
		n = 2*n + bits.OnesCount64(q[2]&r)
		n = 2*n + bits.OnesCount64(q[1]&r)
		sum += 2*n + bits.OnesCount64(q[0]&r)
	}
	return sum
}

// compare scores rows, of which the planes before from have been looked at, by the planes before to. What stands in a plane
// counts from the middle of its number's range.
func (s *scratch) compare(best []candidate, from, to int) {
	middle := float64(int(1)<<to-1) / 2 * float64(s.fineSum)
	for i := range best {
		b := &best[i]
		c, row := s.segs[b.seg].at(int(b.row))
		sum := b.sum
		for _, plane := range c.planes[from:to] {
			sum = 2*sum + int32(againstPlane(s.fine, plane[row*s.words:]))
		}
		b.sum = sum
		b.score = s.fineStep * c.scale[row] * float32(math.Ldexp(float64(sum)-middle, len(c.planes)-to))
	}
}

// againstPlane is the sum of those of the question's numbers where the plane has a 1.
func againstPlane(question [][fineBits]uint64, row []uint64) int {
	row = row[:len(question)]
	sum := 0
	for w := range question {
		q, r := &question[w], row[w]
		n := -bits.OnesCount64(q[9] & r)
		n = 2*n + bits.OnesCount64(q[8]&r)
		n = 2*n + bits.OnesCount64(q[7]&r)
		n = 2*n + bits.OnesCount64(q[6]&r)
		n = 2*n + bits.OnesCount64(q[5]&r)
		n = 2*n + bits.OnesCount64(q[4]&r)
		n = 2*n + bits.OnesCount64(q[3]&r)
		n = 2*n + bits.OnesCount64(q[2]&r)
		n = 2*n + bits.OnesCount64(q[1]&r)
		sum += 2*n + bits.OnesCount64(q[0]&r)
	}
	return sum
}

// keep returns the n best, in no order, but the last of them is the worst.
func keep(c []candidate, n int) []candidate {
	if n <= 0 || len(c) == 0 {
		return c[:0]
	}
	n = min(n, len(c))
	for lo, hi := 0, len(c)-1; lo < hi; {
		pivot := c[lo+(hi-lo)/2].score
		i, j := lo, hi
		for i <= j {
			for c[i].score > pivot {
				i++
			}
			for c[j].score < pivot {
				j--
			}
			if i <= j {
				c[i], c[j] = c[j], c[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case n-1 <= j:
			hi = j
		case n-1 >= i:
			lo = i
		default:
			return c[:n]
		}
	}
	return c[:n]
}
