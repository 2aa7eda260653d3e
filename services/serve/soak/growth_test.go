// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// Growth is judged over the last million turns, of the phase alone; of fewer by a bar
// that only a leak with each turn reaches.
func TestSlopeRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	saw := func(s int) float64 { return 60 + float64(s%7) + rng.Float64() }
	grows := func(s int) float64 { return saw(s) + 0.005*float64(s) } // 0.5 MB per 100 000 turns of 1 000 a second
	warm := func(s int) float64 { return saw(s) - max(0, 20-float64(s)/20) }
	leaks := func(s int) float64 { return saw(s) + 50e-6*512*float64(s) } // 512 bytes with each turn of 50 a second
	fills := func(s int) float64 { return saw(s) + 0.01*float64(s) }      // 20 MB per 100 000 of these
	early := func(s int) float64 { return saw(s) + min(40, 0.4*float64(s)) }
	for _, tc := range []struct {
		name, phase string
		all         []sample
		want        verdict
	}{
		{"none", million, stretch(nil, million, 1100, saw, 1000), held},
		{"some", million, stretch(nil, million, 1100, grows, 1000), missed},
		{"only before the last million", million, stretch(nil, million, 1500, warm, 1000), held},
		{"some, over too few turns", million, stretch(nil, million, 300, grows, 1000), noProof},
		{"none, over too few turns", million, stretch(nil, million, 300, saw, 1000), noProof},
		{"hardly any turns", million, stretch(nil, million, 20, grows, 1000), noProof},
		{"with idle and burst between", million, stretch(stretch(stretch(nil, million, 600, saw, 1000), burst, 100, flat(90), 2000), million, 600, saw, 1000), held},
		{"hours, some", steady, stretch(nil, steady, 600, grows, 1000), missed},
		{"half an hour, none", steady, stretch(nil, steady, 950, saw, 50), held},
		{"half an hour, a leak", steady, stretch(nil, steady, 950, leaks, 50), missed},
		{"half an hour, caches fill", steady, stretch(nil, steady, 950, fills, 50), held},
		{"half an hour, much at first", steady, stretch(nil, steady, 950, early, 50), held},
		{"two hours, a leak", steady, stretch(nil, steady, 6000, leaks, 50), missed},
		{"a minute", steady, stretch(nil, steady, 60, leaks, 50), noProof},
	} {
		if r := slopeRow(tc.all, tc.phase); r.verdict != tc.want {
			t.Errorf("%s: %+v, want %s", tc.name, r, tc.want)
		}
	}
}

// The bar of half an hour bears what such runs really did, and none of them would have
// hidden a leak of 384 bytes with each turn.
func TestShortBarOfKeptRuns(t *testing.T) {
	for _, name := range []string{"2026-11-27-0755-920664b", "2026-11-27-1302-2cf5fab", "2026-11-27-1702-dcc8844", "2026-11-27-1702-dcc8844-one-cpu", "2026-11-27-1948-7ec73ea", "2026-11-27-2019-7ec73ea"} {
		all := readings(t, filepath.Join("..", "..", "..", "contrib", "benchmarks", name+"-memory-governed.csv"))
		r := slopeRow(all, steady)
		t.Logf("%s: %s", name, r.measured)
		if r.verdict != held {
			t.Errorf("%s: %+v", name, r)
		}
		for _, leak := range []int64{256, 384} { // bytes with each turn
			leaking := append([]sample(nil), all...)
			for i := range leaking {
				leaking[i].rss += leak * leaking[i].turns
			}
			r := slopeRow(leaking, steady)
			t.Logf("%s, %d bytes with each turn: %s, %s", name, leak, r.measured, r.verdict)
			if leak > 256 && r.verdict != missed {
				t.Errorf("%s, %d bytes with each turn: %+v", name, leak, r)
			}
		}
	}
}
