// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// noisy is a series of n minima, 10 000 turns apart: a line, and noise of which each
// value is rho times the one before and something new.
func noisy(n int, slope, rho, spread float64, seed uint64) []point {
	rng := rand.New(rand.NewPCG(seed, 1))
	out, noise := make([]point, n), 0.0
	for i := range out {
		noise = rho*noise + spread*math.Sqrt(1-rho*rho)*rng.NormFloat64()
		turn := float64(i) * block
		out[i] = point{turn, 50 + slope*turn + noise}
	}
	return out
}

// perUnit is a slope of so many MB per 100 000 turns.
func perUnit(mb float64) float64 { return mb / slopeUnit }

func TestTheilSen(t *testing.T) {
	for _, tc := range []struct {
		name         string
		points       []point
		slope, start float64
	}{
		{"a line", []point{{0, 1}, {1, 3}, {2, 5}, {3, 7}}, 2, 1},
		{"flat", []point{{0, 5}, {10, 5}, {20, 5}}, 0, 5},
		{"falling, unevenly spaced", []point{{0, 10}, {1, 9}, {5, 5}, {9, 1}}, -1, 10},
		{"one far out does not move it", []point{{0, 0}, {1, 1}, {2, 2}, {3, 300}, {4, 4}, {5, 5}, {6, 6}}, 1, 0},
		{"two of seven far out", []point{{0, -90}, {1, 1}, {2, 2}, {3, 300}, {4, 4}, {5, 5}, {6, 6}}, 1, 0},
		{"at the same turn", []point{{0, 0}, {0, 2}, {1, 2}}, 1, 1},
	} {
		if got := theilSen(tc.points); math.Abs(got.slope-tc.slope) > 1e-9 || math.Abs(got.start-tc.start) > 1e-9 {
			t.Errorf("%s: %g and %g, want %g and %g", tc.name, got.slope, got.start, tc.slope, tc.start)
		}
	}
}

func TestMedian(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 1; n < 200; n++ {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(rng.IntN(n)) // some are there twice
		}
		sorted := slices.Sorted(slices.Values(v))
		want := (sorted[(n-1)/2] + sorted[n/2]) / 2
		if got := median(v); got != want {
			t.Fatalf("of %v: %g, want %g", sorted, got, want)
		}
	}
}

func TestMinima(t *testing.T) {
	at := []int64{5, 6, 9, 14, 15, 24, 35, 36, 44, 45}
	size := []float64{9, 7, 8, 6, 3, 4, 5, 2, 9, 1}
	// Blocks of ten from turn 5 on; there is nothing in 25 to 34, and the last is not full.
	want := []point{{14, 6}, {15, 3}, {36, 2}}
	if got := minima(at, size, 5, 10); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := minima(at, size, 15, 10), want[1:]; !slices.Equal(got, want) {
		t.Errorf("from turn 15 on: %v, want %v", got, want)
	}
	if got := minima(nil, nil, 0, 10); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// Growth by more than the bar is seen; none, and less than the bar, is not taken for it.
func TestFitFindsGrowth(t *testing.T) {
	for _, tc := range []struct {
		name       string
		slope, rho float64
		over       bool // the upper bound is over the bar
	}{
		{"none", 0, 0, false},
		{"none, alike neighbours", 0, 0.6, false},
		{"half the bar", slopeBar / 2, 0, false},
		{"twice the bar", 2 * slopeBar, 0, true},
		{"twice the bar, alike neighbours", 2 * slopeBar, 0.6, true},
		{"falling", -slopeBar, 0.3, false},
	} {
		for seed := range uint64(3) {
			got := fit(noisy(80, perUnit(tc.slope), tc.rho, 0.5, seed), 1)
			if over := got.upper*slopeUnit > slopeBar; over != tc.over {
				t.Errorf("%s, seed %d: %.3f up to %.3f, over the bar is %v", tc.name, seed, got.slope*slopeUnit, got.upper*slopeUnit, over)
			}
			if got.lower > got.slope || got.upper < got.slope {
				t.Errorf("%s, seed %d: %g is not within %g and %g", tc.name, seed, got.slope, got.lower, got.upper)
			}
		}
	}
}

func TestFitIsReproducible(t *testing.T) {
	points := noisy(60, 0, 0.5, 1, 3)
	if a, b := fit(points, 1), fit(points, 1); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
	if a, b := fit(points, 1), fit(points, 2); a.upper == b.upper {
		t.Error("the seed does not matter")
	}
}

// dipping is noisy, with a tenth of the minima far below: each alone, as after memory
// was given back.
func dipping(n int, rho float64, seed uint64) []point {
	out := noisy(n, 0, rho, 1, seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := range out {
		if rng.IntN(10) == 0 {
			out[i].mb -= 5 + 5*rng.Float64()
		}
	}
	return out
}

// A bound must hold about as often as it says, however alike neighbours are and however
// few there are, and must not be wide for that: of independent ones it is about what the
// normal distribution gives for the spread that the slopes really have. Some that lie far
// out must not make it narrow.
func TestUpperBoundHolds(t *testing.T) {
	const draws = 100
	for _, tc := range []struct {
		n, series int
		rho       float64
		dips      bool
		least     int // of 100 series
	}{
		{20, 400, 0, false, 90}, {20, 400, 0.6, false, 90}, {20, 400, 0.9, false, 87}, {20, 400, 0.9, true, 87},
		{42, 400, 0, false, 90}, {42, 400, 0.6, false, 90}, {42, 400, 0.9, false, 90}, {42, 400, 0.6, true, 90}, {42, 400, 0.9, true, 90},
		{100, 100, 0, false, 90}, {100, 100, 0.6, false, 90}, {100, 100, 0.9, false, 90}, {100, 100, 0.9, true, 90},
	} {
		if testing.Short() || raced {
			tc.series = 10 // whether it goes at all
		}
		above, below, together, width, square := 0, 0, 0, 0.0, 0.0
		for seed := range uint64(tc.series) {
			points := noisy(tc.n, 0, tc.rho, 1, seed)
			if tc.dips {
				points = dipping(tc.n, tc.rho, seed)
			}
			got := fitBy(points, seed, draws)
			if got.upper >= 0 {
				above++
			}
			if got.lower <= 0 {
				below++
			}
			together += got.run
			width += (got.upper - got.slope) / float64(tc.series)
			square += got.slope * got.slope / float64(tc.series)
		}
		if tc.series < 100 {
			continue
		}
		relative := width / (1.645 * math.Sqrt(square))
		t.Logf("%+v: the upper bound holds in %d, the lower in %d; %.2f times as wide as with the true spread", tc, above, below, relative)
		if min(above, below)*100 < tc.least*tc.series {
			t.Errorf("%+v: the bounds hold in %d and %d series", tc, above, below)
		}
		if tc.rho == 0 && tc.n == 100 && relative > 1.15 {
			t.Errorf("of independent values the bound is %.2f times as wide as need be", relative)
		}
		if mean := float64(together) / float64(tc.series); tc.rho > 0 && tc.n == 100 && mean < 3 {
			t.Errorf("%+v: residuals are drawn %.1f together, too few", tc, mean)
		}
	}
}

// What is drawn too narrow is widened by as much, and never without an end.
func TestWidening(t *testing.T) {
	of := func(n int, rho float64) []float64 {
		rest := make([]float64, n)
		for i, p := range noisy(n, 0, rho, 1, 9) {
			rest[i] = p.mb - 50
		}
		return rest
	}
	if w := widening(of(400, 0), 1); w < 1 || w > 1.1 {
		t.Errorf("independent values are widened %.2f times", w)
	}
	short, long := widening(of(400, 0.8), 3), widening(of(400, 0.8), 40)
	if short < 1.5 || long > 1.3 || long < 1 {
		t.Errorf("alike ones, drawn 3 and 40 together: %.2f and %.2f", short, long)
	}
	for _, n := range []int{1, 4, 5, 8} {
		if w := widening(of(n, 0.9), 1); math.IsNaN(w) || w < 1 || w > 40 {
			t.Errorf("of %d values: %g", n, w)
		}
	}
}

func TestRunLength(t *testing.T) {
	alike := func(rho float64) []float64 {
		rest := make([]float64, 400)
		for i, p := range noisy(len(rest), 0, rho, 1, 9) {
			rest[i] = p.mb - 50
		}
		return rest
	}
	if n := runLength(alike(0)); n > 3 {
		t.Errorf("independent values are drawn %d together", n)
	}
	// (2 × 0.8 / (1 − 0.64))^(2/3) × 400^(1/3) = 19.9
	if n := runLength(alike(0.8)); n < 14 || n > 28 {
		t.Errorf("values that are 0.8 alike are drawn %d together, want about 20", n)
	}
	if n := runLength([]float64{1, 1, 1}); n != 1 {
		t.Errorf("three of the same are drawn %d together", n)
	}
}

// That some lie far out does not hide how alike the others are, and that most are the same
// takes none of them away.
func TestLikeness(t *testing.T) {
	rest := func(points []point) (out []float64) {
		for _, p := range points {
			out = append(out, p.mb-50)
		}
		return out
	}
	whole, dipped := likeness(rest(noisy(400, 0, 0.8, 1, 9))), likeness(rest(dipping(400, 0.8, 9)))
	if whole < 0.7 || math.Abs(dipped-whole) > 0.1 {
		t.Errorf("of values that are 0.8 alike it is %.2f, and %.2f with dips", whole, dipped)
	}
	if got := likeness([]float64{0, 0, 0, 0, 5}); got != 0 {
		t.Errorf("of four that lie on the line and one that does not: %g", got)
	}
}

func TestAutocorrelation(t *testing.T) {
	for _, tc := range []struct {
		v    []float64
		want float64
	}{
		{[]float64{1, -1, 1, -1}, -0.75},
		{[]float64{2, 2, 2}, 0},
		{[]float64{1, 2, 3, 4}, 0.25},
	} {
		if got := autocorrelation(tc.v); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%v: %g, want %g", tc.v, got, tc.want)
		}
	}
}
