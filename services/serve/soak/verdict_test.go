// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// stretch is a phase that lasts so many seconds with one sample each: of a size in MB
// and turns that may depend on the second.
func stretch(all []sample, phase string, seconds int, size func(second int) float64, turnsPerSecond int64) []sample {
	last := sample{at: -time.Second}
	if n := len(all); n > 0 {
		last = all[n-1]
	}
	for s := range seconds {
		all = append(all, sample{at: last.at + time.Duration(s+1)*time.Second, phase: phase, turns: last.turns + int64(s+1)*turnsPerSecond, rss: int64(size(s) * mb)})
	}
	return all
}

func flat(size float64) func(int) float64 { return func(int) float64 { return size } }

// verdictsOf are the verdicts of rows.
func verdictsOf(rows []row) (out []verdict) {
	for _, r := range rows {
		out = append(out, r.verdict)
	}
	return out
}

func TestIdleRows(t *testing.T) {
	falling := func(s int) float64 { return 90 - float64(s) } // 31 MB at the end of a minute, 38 in the middle of its last quarter
	for _, tc := range []struct {
		name string
		all  []sample
		want []verdict
	}{
		{"nothing", nil, nil},
		{"held", stretch(stretch(nil, idle, 60, flat(30), 0), rest, 60, falling, 0), []verdict{held, held}},
		{"too much a minute after the burst", stretch(stretch(nil, idle, 60, flat(30), 0), rest, 60, flat(41), 0), []verdict{held, missed}},
		{"a peak for as long as an answer to Prometheus is resident", stretch(stretch(stretch(nil, rest, 53, flat(39), 0), rest, 4, flat(46), 0), rest, 3, flat(39), 0), []verdict{held}},
		{"too much for most of the last quarter of a minute", stretch(stretch(nil, rest, 51, flat(39), 0), rest, 9, flat(41), 0), []verdict{missed}},
		{"too much, but looked at too soon", stretch(nil, rest, 20, falling, 0), []verdict{noProof}},
		{"little, but looked at too soon", stretch(nil, rest, 20, flat(30), 0), []verdict{noProof}},
		{"too much in one round of two", stretch(stretch(stretch(nil, idle, 60, flat(50), 0), steady, 5, flat(50), 50), idle, 60, flat(30), 0), []verdict{missed}},
	} {
		if got := verdictsOf(idleRows(tc.all, nil)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// The bar of a minute after a burst is one for 1 000 sessions, and a daemon that is only
// just up is not idle: of such a phase memory is shown.
func TestIdleShownOnly(t *testing.T) {
	all := stretch(stretch(stretch(nil, idle, 10, flat(50), 0), million, 100, flat(60), 1000), rest, 60, flat(58), 0)
	w := options{turns: 1_500_000}.works()[0]
	r := &run{work: w, daemon: &daemon{}, book: &book{}, sampler: &sampler{samples: all}}
	for _, got := range r.rows()[:2] {
		if got.verdict != shown || got.bar != "for comparison" {
			t.Errorf("%+v", got)
		}
	}
	if got := verdictsOf(idleRows(all, []string{idle})); !slices.Equal(got, []verdict{shown, missed}) {
		t.Errorf("%v: what is not only shown is not judged", got)
	}
}

func TestSteadyRows(t *testing.T) {
	for _, tc := range []struct {
		name string
		all  []sample
		want []verdict
	}{
		{"held", stretch(nil, steady, 60, flat(99), 50), []verdict{held, held}},
		{"too slow", stretch(nil, steady, 60, flat(99), 40), []verdict{missed, held}},
		{"a peak", stretch(stretch(nil, steady, 60, flat(60), 50), steady, 1, flat(101), 50), []verdict{held, missed}},
		{"another phase's peak", stretch(stretch(nil, steady, 60, flat(60), 50), burst, 9, flat(150), 50), []verdict{held, held}},
	} {
		if got := verdictsOf(steadyRows(tc.all)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// levelsOf has one sample for each level, so many seconds apart.
func levelsOf(apart time.Duration, levels ...int64) (out []sample) {
	for i, l := range levels {
		out = append(out, sample{at: time.Duration(i) * apart, phase: swing, pressure: l})
	}
	return out
}

func TestChanges(t *testing.T) {
	for _, tc := range []struct {
		name string
		all  []sample
		want int
	}{
		{"none", levelsOf(time.Second, 0, 0, 0), 0},
		{"up and down", levelsOf(time.Minute, 0, 1, 1, 0), 2},
		{"unknown in between is no change", levelsOf(time.Second, 1, unknown, 1, unknown, 0), 1},
		{"with each reading", levelsOf(time.Second, 0, 1, 0, 1, 0, 2), 5},
		{"four in all, two in ten minutes", levelsOf(6*time.Minute, 0, 1, 0, 1, 0), 2},
		{"far apart", levelsOf(time.Hour, 0, 1, 0, 1, 0), 1},
	} {
		if got := changes(tc.all); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// A load that comes and goes is judged by a level that it crosses, in either direction.
func TestSwingRow(t *testing.T) {
	for _, tc := range []struct {
		name   string
		levels []int64
		want   verdict
	}{
		{"up and down", []int64{0, 1, 1, 0}, held},
		{"up, and then it stays", []int64{unknown, 0, 1, 1}, held},
		{"with each pause", []int64{0, 1, 0, 1}, missed},
		{"never up", []int64{0, 0}, noCross},
		{"up from the first reading on", []int64{1, 1, 1}, noCross},
		{"it does not tell when it is down", []int64{unknown, 1, unknown, 1}, noCross},
		{"never down, and up and down there", []int64{1, 2, 1, 2}, missed},
	} {
		got := swingRows(levelsOf(time.Minute, tc.levels...))[0]
		if got.verdict != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got.verdict, tc.want)
		}
		if !strings.Contains(got.what, "15 s of every 30 s") {
			t.Errorf("it does not say how the load comes and goes: %s", got.what)
		}
	}
}

// 1 000 sessions that take turns are not 1 000 turns at one time.
func TestSteadyRowsTellHowManyAtOnce(t *testing.T) {
	if got := steadyRows(stretch(nil, steady, 60, flat(50), 50))[0]; !strings.Contains(got.what, "some 25 at one time") || got.bar != "≥ 47.5" {
		t.Errorf("%+v", got)
	}
}

// A megabyte is a million bytes, as in the bench; a limit is told in what it is set in.
func TestUnits(t *testing.T) {
	all := stretch(nil, steady, 60, func(int) float64 { return 96 * mib / mb }, 50)
	if got := steadyRows(all)[1]; got.measured != "100.7 MB" || got.verdict != missed {
		t.Errorf("96 MiB are %+v", got)
	}
	r := &run{options: options{limitMB: 128}}
	if got := megabytes(r.warnAt()); got != "107.4 MB" {
		t.Errorf("of 128 MiB it warns at %s", got)
	}
}

// The head of BENCHMARKS.md names the run of memory that lasted longest.
func TestLongestRunIsNamed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "BENCHMARKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	var longest time.Duration
	for _, m := range regexp.MustCompile(`(?m)^It lasted (\S+) by the wall clock`).FindAllStringSubmatch(string(text), -1) {
		d, err := time.ParseDuration(m[1])
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, d)
	}
	head, _, _ := strings.Cut(string(text), "\n## ")
	if want := "The longest run so far lasted " + longest.String() + " by the wall clock"; longest == 0 || !strings.Contains(head, want) {
		t.Errorf("its head does not say: %s", want)
	}
}

// A daemon whose memory stays as the attack left it is not normal again, whatever its
// level says.
func TestNormal(t *testing.T) {
	r := &run{options: options{limitMB: 100}}
	early := &run{options: options{limitMB: 100}, work: work{warn: 28}}
	if r.warnAt() != 80*mib || early.warnAt() != 28*mib {
		t.Errorf("it warns at %s and %s", megabytes(r.warnAt()), megabytes(early.warnAt()))
	}
	for _, tc := range []struct {
		name string
		sample
		want bool
	}{
		{"all is well", sample{rss: 79 * mib}, true},
		{"memory stays", sample{rss: 80 * mib}, false},
		{"pressure", sample{rss: 50 * mb, pressure: 1}, false},
		{"messages wait", sample{rss: 50 * mb, inbox: 1}, false},
		{"it does not tell", sample{rss: 50 * mb, pressure: unknown, inbox: unknown}, false},
	} {
		if got := normal(tc.sample, r.warnAt()); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	r.recovered = []time.Duration{time.Second}
	if got := r.hostileRows(nil)[0].what; !strings.Contains(got, "RSS below 83.9 MB") {
		t.Errorf("the row does not say so: %s", got)
	}
}

func TestPlan(t *testing.T) {
	for _, total := range []time.Duration{2 * time.Minute, 30 * time.Minute, time.Hour, 72 * time.Hour} {
		p := plan(total)
		got := time.Duration(0)
		for _, one := range p {
			got += one.last
			if one.last <= 0 {
				t.Errorf("%s: %s lasts %s", total, one.name, one.last)
			}
		}
		if got < total-time.Millisecond || got > total {
			t.Errorf("%s: the phases last %s", total, got)
		}
	}
	if n := len(plan(72 * time.Hour)); n != 12*6 {
		t.Errorf("72 h have %d phases, want 12 rounds of 6", n)
	}
	for _, p := range plan(round) {
		if p.name == hostile && p.last != attackFor || p.name == rest && p.last != settle {
			t.Errorf("a whole round has %s for %s", p.name, p.last)
		}
	}
}

func TestParsePhases(t *testing.T) {
	got, err := parsePhases("idle=1m,hostile=1h,calm=70s")
	if want := []phase{{idle, time.Minute}, {hostile, time.Hour}, {calm, 70 * time.Second}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "idle", "idle=soon", "idle=-1s", "million=1m", "idle=1s,,calm=1s"} {
		if got, err := parsePhases(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}
