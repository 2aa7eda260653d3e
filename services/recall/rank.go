// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/clip"
	"github.com/blufio/blufio/services/internal/fold"
)

const (
	rankOffset = 10   // added to places before they are divided by: the first few places differ little
	leastOfAge = 0.25 // what of a fact's score is left, however old it is
	saidBytes  = 512  // of a text, whose words tell what it says
	pickFrom   = 3    // times as many as are asked for are compared with each other
)

// candidate is a fact that a search has found.
type candidate struct {
	row
	words, near int // places, from 1 on; 0: not found that way
	vector      []float32
	said        map[string]bool // the words of its beginning, once they were needed
	score       float64
}

func (c *candidate) by() string {
	switch {
	case c.words > 0 && c.near > 0:
		return bus.RecallByBoth
	case c.near > 0:
		return bus.RecallByVector
	}
	return bus.RecallByWords
}

// rank scores candidates and puts the best first: reciprocal places, then importance and age.
func (c Config) rank(all []candidate, now time.Time) {
	for i := range all {
		x := &all[i]
		if x.words > 0 {
			x.score += c.WordsWeight / float64(rankOffset+x.words)
		}
		if x.near > 0 {
			x.score += c.VectorsWeight / float64(rankOffset+x.near)
		}
		x.score *= (1 + c.ImportanceWeight*x.Importance) * c.decay(now.Sub(x.At))
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.n, a.n)) })
}

// decay is what age leaves of a score.
func (c Config) decay(age time.Duration) float64 {
	if c.DecayHalfLife <= 0 || age <= 0 {
		return 1
	}
	return max(math.Exp2(-age.Hours()/c.DecayHalfLife.Hours()), leastOfAge)
}

// pick takes the best, one after another, each time the one that is good and says something new (maximal marginal
// relevance), as long as their texts fit; what does not fit is left out.
func (c Config) pick(all []candidate, limit, maxBytes int) []candidate {
	all = all[:min(len(all), max(limit*pickFrom, limit+20))]
	if len(all) == 0 {
		return nil
	}
	top, left := all[0].score, maxBytes
	alike := make([]float64, len(all)) // the most to anything that was taken
	taken := make([]bool, len(all))
	var out []candidate
	for len(out) < limit {
		best, value := -1, math.Inf(-1)
		for i := range all {
			if taken[i] || maxBytes > 0 && len(all[i].Text) > left {
				continue
			}
			if v := (1-c.Diversity)*all[i].score/top - c.Diversity*alike[i]; v > value {
				best, value = i, v
			}
		}
		if best < 0 {
			break
		}
		taken[best] = true
		out, left = append(out, all[best]), left-len(all[best].Text)
		if c.Diversity == 0 {
			continue
		}
		for i := range all {
			if !taken[i] {
				alike[i] = max(alike[i], likeness(&all[best], &all[i]))
			}
		}
	}
	return out
}

// likeness is how much two facts say the same, 0 to 1: by their vectors, or else by the words that they share.
func likeness(a, b *candidate) float64 {
	if len(a.vector) > 0 && len(a.vector) == len(b.vector) {
		return max(dot(a.vector, b.vector), 0)
	}
	x, y := a.begins(), b.begins()
	shared := 0
	for w := range x {
		if y[w] {
			shared++
		}
	}
	return float64(shared) / float64(max(len(x), len(y), 1))
}

// begins are the words of a fact's beginning.
func (c *candidate) begins() map[string]bool {
	if c.said == nil {
		c.said = map[string]bool{}
		for _, w := range fold.Words(clip.Bytes(c.Text, saidBytes)) {
			c.said[w] = true
		}
	}
	return c.said
}

func dot(a, b []float32) float64 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
