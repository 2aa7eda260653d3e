// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
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
		{"down to the highest that was due meanwhile", dwell / 2, []float64{99, 10, 85, 10, 10, 10, 10}, 0, []string{c, c, c, w, w, w, n}},
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

// A load that goes up and down every few seconds is two changes in ten minutes.
func TestOscillatingLoad(t *testing.T) {
	l, now, changes, level := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}.levels(), time.Unix(0, 0), 0, bus.PressureNormal
	for second := range 600 {
		percent := 60.0
		if second%20 < 8 {
			percent = 85
		}
		if got := l.next(now.Add(time.Duration(second)*time.Second), percent, 0); got != level {
			level = got
			changes++
		}
	}
	if changes > 2 {
		t.Errorf("%d changes", changes)
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
