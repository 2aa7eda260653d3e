// SPDX-License-Identifier: MIT OR Apache-2.0

package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/recall/embed/static"
)

const dim = static.Dim

// data makes vectors to hold, and questions to find them with.
type data struct {
	name string
	make func(t testing.TB, n, questions int) (vectors, queries [][]float32)
}

var datas = []data{{"clusters", clusters}, {"sentences", sentences}}

// clusters are random vectors around random centres, twenty around each; a question is near a centre too.
func clusters(_ testing.TB, n, questions int) (vectors, queries [][]float32) {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	centres := make([][]float32, max(n/20, 1))
	for i := range centres {
		centres[i] = random(r, nil, 1)
	}
	around := func(count int) (out [][]float32) {
		for range count {
			out = append(out, random(r, centres[r.IntN(len(centres))], 1))
		}
		return out
	}
	return around(n), around(questions)
}

// random is a point around a centre.
func random(r *rand.Rand, centre []float32, spread float64) []float32 {
	v := make([]float32, dim)
	copy(v, centre)
	for i := range v {
		v[i] += float32(spread * r.NormFloat64())
	}
	normalize(v)
	return v
}

func normalize(v []float32) {
	if sum := dot(v, v); sum > 0 {
		for i := range v {
			v[i] /= float32(math.Sqrt(float64(sum)))
		}
	}
}

// sentences are what the embedder without a model makes of things that people tell, and ask.
func sentences(t testing.TB, n, questions int) (vectors, queries [][]float32) {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	names := make([]string, 60+n/50)
	for i := range names {
		names[i] = name(r)
	}
	of := func(list ...string) string { return list[r.IntN(len(list))] }
	thing := func() string {
		return of("sister", "brother", "dentist", "garage", "boiler", "bank", "landlord", "neighbour", "cousin", "doctor", "teacher", "trainer", "lawyer", "plumber", "bakery", "gym", "choir", "dog", "cat", "bicycle")
	}
	texts, asked := make([]string, n), make([]string, questions)
	for i := range texts {
		who := of(names...)
		switch r.IntN(5) {
		case 0:
			texts[i] = fmt.Sprintf("My %s %s lives in %s since %d.", thing(), who, of(names...), 1980+r.IntN(45))
		case 1:
			texts[i] = fmt.Sprintf("The %s of %s is closed on %s until %d o'clock.", thing(), who, of("Monday", "Tuesday", "Friday", "Sunday"), r.IntN(24))
		case 2:
			texts[i] = fmt.Sprintf("%s is allergic to %s and likes %s.", who, of("nuts", "milk", "penicillin", "pollen", "shellfish", "eggs"), of("tea", "jazz", "chess", "hiking", "sailing", "poetry"))
		case 3:
			texts[i] = fmt.Sprintf("Remember that the appointment with %s at the %s is on %d %s at %d:%02d.", who, thing(), 1+r.IntN(28), of("March", "May", "July", "October"), 8+r.IntN(10), 15*r.IntN(4))
		default:
			texts[i] = fmt.Sprintf("We paid %d euros to %s for the %s in %s.", r.IntN(900), who, thing(), of(names...))
		}
	}
	for i := range asked {
		words := strings.Fields(of(texts...))
		from := r.IntN(len(words) - 3)
		asked[i] = of("What about ", "When did ", "Tell me of ", "Who has ") + strings.Join(words[from:min(from+2+r.IntN(4), len(words))], " ") + "?"
	}
	embed := func(texts []string) [][]float32 {
		v, err := static.New().Embed(t.Context(), texts)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	return embed(texts), embed(asked)
}

func name(r *rand.Rand) string {
	var b strings.Builder
	for range 2 + r.IntN(2) {
		b.WriteByte("bdfgklmnprstvz"[r.IntN(14)])
		b.WriteByte("aeiou"[r.IntN(5)])
	}
	return strings.ToUpper(b.String()[:1]) + b.String()[1:]
}

// dot is what others call brute force.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(b) >= 4 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		a, b = a[4:], b[4:]
	}
	for i := range a {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// exact are the scores of all vectors, the best first.
func exact(vectors [][]float32, query []float32, k int) []Hit {
	var best []Hit
	for i, v := range vectors {
		s := dot(v, query)
		if len(best) == k && s <= best[k-1].Score {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, s, func(h Hit, s float32) int {
			if h.Score >= s {
				return -1
			}
			return 1
		})
		best = slices.Insert(best, at, Hit{int64(i), s})
		best = best[:min(len(best), k)]
	}
	return best
}

// found is the share of the k nearest that are among the hits; who is as near as the last of them counts.
func found(vectors [][]float32, query []float32, hits []Hit, k int) float64 {
	want := exact(vectors, query, k)
	least, n := want[len(want)-1].Score-1e-6, 0
	for _, h := range hits {
		if dot(vectors[h.ID], query) >= least {
			n++
		}
	}
	return float64(n) / float64(len(want))
}

// filled is an index with the vectors of one owner, each under its number.
func filled(t testing.TB, vectors [][]float32, bytes int64) *Index {
	t.Helper()
	x := New(dim, bytes)
	for i, v := range vectors {
		if err := x.Put("owner", int64(i), v); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// recallAt10 is the mean of found over the questions.
func recallAt10(x *Index, vectors, queries [][]float32) (sum float64) {
	for _, q := range queries {
		sum += found(vectors, q, x.Search(nil, "owner", q, 10), 10)
	}
	return sum / float64(len(queries))
}
