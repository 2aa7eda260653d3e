// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		c     course
		now   time.Duration // since the start
		every time.Duration
		want  time.Duration // since the start; negative: never
	}{
		{"no schedule", course{done: at(-9 * day)}, 0, 0, -1},
		{"a fresh install settles first", course{}, 0, day, settling},
		{"an old one does too", course{done: at(-9 * day)}, 0, day, settling},
		{"a day after the last", course{done: at(-6 * time.Hour)}, 0, day, 18 * time.Hour},
		{"every minute", course{done: at(time.Hour)}, time.Hour, time.Minute, time.Hour + time.Minute},
		{"from the future", course{done: at(99 * day)}, time.Minute, day, settling},
		{"failed once", course{done: at(-2 * day), failed: at(time.Hour), failures: 1}, time.Hour, day, time.Hour + retryFirst},
		{"failed thrice", course{failed: at(time.Hour), failures: 3}, time.Hour, day, time.Hour + 4*retryFirst},
		{"failed often", course{failed: at(time.Hour), failures: 99}, time.Hour, day, time.Hour + retryMost},
		{"failed, and every minute", course{failed: at(time.Hour), failures: 9}, time.Hour, time.Minute, time.Hour + time.Minute},
		{"failed before the start", course{failed: at(-time.Minute), failures: 1}, 0, day, retryFirst},
		{"failed in the future", course{done: at(-2 * day), failed: at(9 * day), failures: 1}, time.Minute, day, settling},
		{"put off", course{deferred: at(time.Hour)}, time.Hour, day, time.Hour + deferral},
		{"put off, and not due", course{done: at(0), deferred: at(time.Hour)}, time.Hour, day, day},
	} {
		c.c.started = start
		got, ok := c.c.due(at(c.now), c.every)
		if ok != (c.want >= 0) || ok && !got.Equal(at(c.want)) {
			t.Errorf("%s: %s after the start, %v; want %s", c.name, got.Sub(start), ok, c.want)
		}
	}
}

// However often it fails, it is tried again within the bound, and never at once.
func TestBackoffIsBounded(t *testing.T) {
	last := time.Duration(0)
	for n := 1; n < 200; n++ {
		pause := backoff(n, 48*time.Hour)
		if pause < max(last, retryFirst) || pause > retryMost {
			t.Fatalf("after %d failures it waits %s, before it was %s", n, pause, last)
		}
		last = pause
	}
}
