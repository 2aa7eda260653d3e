// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"slices"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func TestLevels(t *testing.T) {
	const n, w, c = bus.PressureNormal, bus.PressureWarn, bus.PressureCritical
	cfg := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}
	for _, tc := range []struct {
		name    string
		every   time.Duration // between readings
		percent []float64
		stalled float64
		want    []string
	}{
		{"up at once, and down once it has lasted", dwell / 2, []float64{79, 80, 94, 95, 90, 60, 60, 60, 60}, 0, []string{n, w, w, c, c, c, c, n, n}},
		{"trembling around warn", dwell, []float64{80, 79, 80, 76, 80, 75}, 0, []string{w, w, w, w, w, w}},
		{"trembling around critical", dwell, []float64{95, 94, 91, 95, 90}, 0, []string{c, c, c, c, c}},
		{"down to the highest that was due meanwhile", dwell / 2, []float64{99, 10, 85, 10, 10, 10, 10}, 0, []string{c, c, c, w, w, n, n}},
		{"a load that comes and goes", dwell / 3, []float64{81, 50, 50, 81, 50, 50, 81, 50, 50}, 0, []string{w, w, w, w, w, w, w, w, w}},
		{"far over", 1, []float64{500}, 0, []string{c}},
		{"everything in the group waits for memory", dwell, []float64{20, 20}, stallEnter, []string{w, w}},
		{"it waits a little", dwell, []float64{20}, stallEnter - 1, []string{n}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, now := cfg.levels(), time.Unix(0, 0)
			for i, p := range tc.percent {
				if got := l.next(now, p, tc.stalled); got != tc.want[i] {
					t.Fatalf("at reading %d, %v %%: %s, want %s", i, p, got, tc.want[i])
				}
				now = now.Add(tc.every)
			}
		})
	}
}

// Critical before its threshold is what goes on growing above the warning though it
// was shed again and again, and nothing less than that.
func TestStillRisingAfterShedding(t *testing.T) {
	const n, w, c = bus.PressureNormal, bus.PressureWarn, bus.PressureCritical
	type at struct {
		percent float64
		shed    bool // it is the first reading after a shedding
		want    string
	}
	for _, tc := range []struct {
		name     string
		readings []at
	}{
		{"from one shedding to the next, three times", []at{{82, false, w}, {81, true, w}, {83, true, w}, {85, true, w}, {87, true, c}}},
		{"a short ramp", []at{{82, false, w}, {81, true, w}, {85, true, w}, {89, true, w}, {89, true, w}, {89, true, w}}},
		{"a long ramp far below the limit", []at{{20, false, n}, {30, true, n}, {40, true, n}, {50, true, n}, {60, true, n}, {79, true, n}}},
		{"up to the warning and over it", []at{{70, true, n}, {76, true, n}, {79, true, n}, {81, true, w}, {84, true, w}, {86, true, w}, {88, true, c}}},
		{"shedding helps, and it grows again", []at{{82, false, w}, {82, true, w}, {85, true, w}, {88, true, w}, {79, true, w}, {82, true, w}, {85, true, w}, {88, true, w}, {91, true, c}}},
		{"it pauses", []at{{81, true, w}, {83, true, w}, {85, true, w}, {86, true, w}, {88, true, w}, {90, true, w}, {92, true, c}}},
		{"it creeps", []at{{81, true, w}, {82, true, w}, {83, true, w}, {84, true, w}, {85, true, w}, {86, true, w}}},
		{"garbage between two sheddings", []at{{82, false, w}, {81, true, w}, {90, false, w}, {81, true, w}, {92, false, w}, {82, true, w}, {94, false, w}, {82, true, w}}},
		{"it is over at once, and left once it has lasted", []at{{81, true, w}, {83, true, w}, {85, true, w}, {87, true, c}, {87, true, c}, {88, false, c}, {88, false, c}, {88, false, w}}},
		{"fallen below the warning", []at{{81, true, w}, {84, true, w}, {87, true, w}, {90, true, c}, {70, false, c}, {70, false, c}, {70, false, c}, {70, false, n}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, now := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}.levels(), time.Unix(0, 0)
			for i, r := range tc.readings {
				if now = now.Add(shedEvery); r.shed {
					l.shed(r.percent)
				}
				if got := l.next(now, r.percent, 0); got != r.want {
					t.Fatalf("at reading %d, %v %%: %s, want %s", i, r.percent, got, r.want)
				}
			}
		})
	}
}

// A load that comes and goes is two changes in ten minutes at most, whatever it is up to;
// if its pauses are longer than what a level dwells, from the second time on. A pause of a
// minute is the end of a load, after which everything is normal again.
func TestOscillatingLoad(t *testing.T) {
	for _, tc := range []struct {
		load, pause time.Duration
		high        float64
		first, ever int // changes in the first ten minutes, and in any ten after that
	}{
		{8 * time.Second, 12 * time.Second, 85, 1, 0},
		{15 * time.Second, 15 * time.Second, 96, 1, 0},
		{20 * time.Second, 28 * time.Second, 85, 1, 0},
		{20 * time.Second, 35 * time.Second, 85, 3, 0},
		{40 * time.Second, 40 * time.Second, 99, 3, 0},
		{10 * time.Minute, 40 * time.Second, 85, 1, 2},
		{10 * time.Second, 50 * time.Second, 85, 20, 20}, // as many as there are loads, and ends of loads
		{5 * time.Minute, time.Minute, 85, 3, 4},         // the same
	} {
		t.Run(tc.load.String()+" of every "+(tc.load+tc.pause).String(), func(t *testing.T) {
			changes := changesOf(tc.load, tc.pause, tc.high)
			if got := within(changes, 0); got != tc.first {
				t.Errorf("%d changes in the first ten minutes, want %d: %v", got, tc.first, changes)
			}
			most := 0
			for from := 10 * time.Minute; from < 50*time.Minute; from += time.Second {
				most = max(most, within(changes, from))
			}
			if most != tc.ever {
				t.Errorf("%d changes in later ten minutes, want %d: %v", most, tc.ever, changes)
			}
		})
	}
}

// changesOf are the moments in an hour at which the level changes.
func changesOf(load, pause time.Duration, high float64) (changes []time.Duration) {
	l, level := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}.levels(), bus.PressureNormal
	for at := time.Duration(0); at < time.Hour; at += time.Second {
		percent := 60.0
		if at%(load+pause) < load {
			percent = high
		}
		if got := l.next(time.Unix(0, 0).Add(at), percent, 0); got != level {
			level = got
			changes = append(changes, at)
		}
	}
	return changes
}

// within counts the moments of the ten minutes that begin then.
func within(moments []time.Duration, from time.Duration) (n int) {
	for _, m := range moments {
		if m >= from && m < from+10*time.Minute {
			n++
		}
	}
	return n
}

// A level that is back is left within a minute all the same, and one that comes much later is new.
func TestLevelThatIsBack(t *testing.T) {
	l, now := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}.levels(), time.Unix(0, 0)
	over := func(pause time.Duration) (left time.Duration) {
		now = now.Add(pause)
		l.next(now, 85, 0)
		for left = 0; l.next(now.Add(left), 60, 0) != bus.PressureNormal; left += time.Second {
		}
		now = now.Add(left)
		return left
	}
	if got := []time.Duration{over(0), over(lately - time.Second), over(lately)}; !slices.Equal(got, []time.Duration{dwell, dwellAgain, dwell}) || dwellAgain >= time.Minute {
		t.Errorf("left after %v", got)
	}
}

// On its way down through the warning a load does not have to be over twice.
func TestFallThroughTheWarning(t *testing.T) {
	l, now := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}.levels(), time.Unix(0, 0)
	for _, want := range []time.Duration{dwell, dwellAgain} {
		for range 60 {
			now = now.Add(time.Second)
			l.next(now, 97, 0)
		}
		for range 20 { // between the two
			now = now.Add(time.Second)
			l.next(now, 85, 0)
		}
		left := time.Second
		for l.next(now.Add(left), 60, 0) != bus.PressureNormal {
			left += time.Second
		}
		if now = now.Add(left); left != want+time.Second {
			t.Errorf("normal after %s, want %s", left, want)
		}
	}
}

func TestShareLeavesTheBaselineOut(t *testing.T) {
	for _, tc := range []struct {
		used, limit, baseline int64
		want                  float64
	}{
		{80, 100, 0, 80}, {90, 100, 50, 80}, {10, 100, 50, 0}, {210, 100, 200, 100}, {0, 100, 0, 0},
	} {
		if got := share(tc.used, tc.limit, tc.baseline); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}
