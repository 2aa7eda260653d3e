// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import "math"

// Bits of the numbers of a question.
const (
	roughBits = 4 // where only signs are looked at
	fineBits  = 10
)

// scratch is what one call works with.
type scratch struct {
	words             int
	vec               []float32 // turned, of length 1
	tmp               []float32
	zero              bool
	row               [maxBits][]uint64   // of a vector that is put: its planes
	sign              float32             // what makes its plane of signs a cosine
	scales            [maxBits]float32    // and what the first planes, so many and one
	rough             [][roughBits]uint64 // of a question: the planes of each word, lowest first, in two's complement
	fine              [][fineBits]uint64
	roughSum, fineSum int // of the question's numbers
	fineStep          float32
	segs              []*segment
	best              []candidate
	floor             float32 // what is not above it is not among the best
}

func newScratch(words int) *scratch {
	s := &scratch{words: words, vec: make([]float32, 64*words), tmp: make([]float32, 64*words),
		rough: make([][roughBits]uint64, words), fine: make([][fineBits]uint64, words)}
	for b := range s.row {
		s.row[b] = make([]uint64, words)
	}
	return s
}

// set takes a vector in, or reports that one of its numbers is none.
func (s *scratch) set(vec []float32) (ok bool) {
	clear(s.vec[copy(s.vec, vec):])
	if ok, s.zero = unit(s.vec); ok && !s.zero {
		turn(s.vec, s.tmp)
	}
	return ok
}

// cut makes the planes of a vector that is put.
func (s *scratch) cut() {
	for b := range s.row {
		clear(s.row[b])
	}
	s.sign, s.scales = 0, [maxBits]float32{}
	if s.zero {
		return
	}
	step := 2 * largest(s.vec) / 256
	var sums [maxBits]float64 // of the vector with what is kept of it
	for i, x := range s.vec {
		u := min(max(int(math.Floor(float64(x)/step))+128, 0), 255)
		for b := range maxBits {
			s.row[b][i/64] |= uint64(u>>(maxBits-1-b)&1) << (i % 64)
			kept := u >> (maxBits - 1 - b)
			sums[b] += float64(x) * (float64(kept) - float64(int(2)<<b-1)/2)
		}
	}
	for b, sum := range sums {
		s.scales[b] = float32(1 / sum)
	}
	s.sign = s.scales[0]
}

// ask makes the planes of a question.
func (s *scratch) ask() {
	clear(s.rough)
	clear(s.fine)
	top := largest(s.vec)
	rough, fine := top/(1<<(roughBits-1)-1), top/(1<<(fineBits-1)-1)
	s.roughSum, s.fineSum, s.fineStep = 0, 0, float32(fine)
	for i, x := range s.vec {
		r, f := int(math.RoundToEven(float64(x)/rough)), int(math.RoundToEven(float64(x)/fine))
		s.roughSum, s.fineSum = s.roughSum+r, s.fineSum+f
		for b := range roughBits {
			s.rough[i/64][b] |= uint64(r>>b&1) << (i % 64)
		}
		for b := range fineBits {
			s.fine[i/64][b] |= uint64(f>>b&1) << (i % 64)
		}
	}
}

func largest(v []float32) float64 {
	var most float32
	for _, x := range v {
		most = max(most, x, -x)
	}
	return float64(most)
}
