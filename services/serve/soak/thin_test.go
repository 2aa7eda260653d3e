// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

func TestThin(t *testing.T) {
	all := stretch(nil, steady, 12_345, flat(50), 50)
	all[9_999].rss, all[777].rss = 99*mb, 11*mb
	got := thin(all, mostRows)
	if len(got) > mostRows || len(got) < mostRows/2 || most(got) != 99*mb || !slices.IsSortedFunc(got, func(a, b sample) int { return int(a.at - b.at) }) {
		t.Errorf("%d rows with at most %s", len(got), megabytes(most(got)))
	}
	if !slices.ContainsFunc(got, func(s sample) bool { return s.rss == 11*mb }) {
		t.Error("the least is left out")
	}
	if got := thin(all[:7], mostRows); len(got) != 7 {
		t.Errorf("%d of 7 rows", len(got))
	}
}

// readings are the samples that a file has.
func readings(t *testing.T, path string) (all []sample) {
	t.Helper()
	for _, r := range readCSV(t, path) {
		number := func(i int) int64 {
			if r[i] == "" {
				return unknown
			}
			n, err := strconv.ParseInt(r[i], 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			return n
		}
		at, err := strconv.ParseFloat(r[0], 64)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, sample{at: time.Duration(at * float64(time.Second)), phase: r[1], turns: number(2), rss: number(3), anonymous: number(4),
			heap: number(5), resident: number(6), pressure: number(7), inbox: number(8), refused: number(9)})
	}
	return all
}

// longRun has every phase, noise, growth, and levels that change.
func longRun(phases ...string) (all []sample) {
	rng := rand.New(rand.NewPCG(7, 7))
	size := func(s int) float64 { return 45 + rng.Float64() + float64(s)/50 } // so that minima are where blocks begin
	for _, p := range phases {
		seconds, rate := 70, int64(50)
		switch p {
		case steady:
			seconds = 15_000
		case million:
			seconds, rate = 11_000, 130
		case hostile:
			seconds = 3600
		}
		from := len(all)
		all = stretch(all, p, seconds, size, rate)
		for i := from; i < len(all); i++ {
			s := &all[i]
			s.anonymous = s.rss/2 + rng.Int64N(9*mb)
			if p == hostile || p == swing {
				s.pressure = int64(i / 13 % 3)
			}
			if i%17 == 0 {
				s.pressure = unknown
			}
			if p == hostile {
				s.refused = int64(i)
			}
		}
	}
	return all
}

// soonUp is a load that comes and goes, of which only the first readings are normal, but
// for one that is unknown.
func soonUp() []sample {
	all := stretch(nil, idle, 10_000, flat(30), 0)
	n := len(all)
	all = stretch(all, swing, 10_000, func(s int) float64 { return 40 + float64(s)/1000 }, 50)
	for i := range all[n+4:] {
		all[n+4+i].pressure = 1
	}
	all[n].pressure = unknown
	return all
}

// What the table has of readings can be made again from the file: each such row says the
// same.
func TestReadingsGiveTheTable(t *testing.T) {
	for name, all := range map[string][]sample{
		"by phases": longRun(idle, steady, burst, rest, hostile, calm, idle, steady, burst, rest, hostile, calm, swing),
		"million":   longRun(idle, million, rest),
		"hours":     longRun(idle, steady, burst, rest),
		"an hour":   longRun(idle, steady, burst, rest, hostile)[:9000],
		"soon up":   soonUp(),
	} {
		path := filepath.Join(t.TempDir(), "readings.csv")
		if err := writeCSV(path, all); err != nil {
			t.Fatal(err)
		}
		kept := readings(t, path)
		if len(kept) > mostRows+1000 || len(kept) == len(all) {
			t.Errorf("%s: %d of %d readings are kept", name, len(kept), len(all))
		}
		points := func(all []sample, phase string) []point {
			c := courseOf(all, phase)
			from, each, _ := c.fitted()
			return minima(c.at, c.size, from, each)
		}
		for _, phase := range []string{steady, million} {
			if got, want := points(kept, phase), points(all, phase); !slices.Equal(got, want) {
				t.Errorf("%s: %d minima of %s from the file, not the same as the %d that are fitted", name, len(got), phase, len(want))
			}
		}
		table := func(all []sample) []row {
			r := &run{work: work{name: name, acts: true}, daemon: &daemon{}, book: &book{}, sampler: &sampler{samples: all}}
			return r.rows()
		}
		if got, want := table(kept), table(all); !slices.Equal(got, want) {
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Errorf("%s: from the file %+v, not %+v", name, got[min(i, len(got)-1)], want[i])
				}
			}
		}
	}
}
