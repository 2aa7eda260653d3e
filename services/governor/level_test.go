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

// What is still rising after it was shed twice is critical before the threshold; a
// heap that grows and shrinks between two sheddings is not.
func TestStillRisingAfterShedding(t *testing.T) {
	l, now := Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}.levels(), time.Unix(0, 0)
	at := func(percent float64, shed bool, want string) {
		t.Helper()
		if now = now.Add(time.Second); shed {
			l.shed(percent)
		}
		if got := l.next(now, percent, 0); got != want {
			t.Fatalf("%v %%: %s, want %s", percent, got, want)
		}
	}
	at(82, false, bus.PressureWarn)
	at(76, true, bus.PressureWarn)
	at(90, false, bus.PressureWarn) // garbage
	at(77, true, bus.PressureWarn)
	at(80, true, bus.PressureCritical) // 3 points more than the last time
	at(84, false, bus.PressureCritical)
	at(81, true, bus.PressureCritical) // no more rising; now it has to last
	now = now.Add(dwell)
	at(81, false, bus.PressureWarn)
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
