// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func TestBreaker(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	b := &breaker{limit: 3, pause: time.Minute, now: func() time.Time { return now }}
	down := bus.Errorf(bus.CodeUnavailable, "down")
	admit := func(want bool) (trial bool) {
		t.Helper()
		trial, _, ok := b.admit()
		if ok != want {
			t.Fatalf("admitted: %v, want %v", ok, want)
		}
		return trial
	}
	end := func(trial bool, v verdict, why error, want change) outage {
		t.Helper()
		got, out := b.done(trial, v, why)
		if got != want {
			t.Fatalf("change %d, want %d", got, want)
		}
		return out
	}

	// Failures count only in a row, and what says nothing does not count.
	end(admit(true), fails, down, unchanged)
	end(admit(true), fails, down, unchanged)
	end(admit(true), answers, nil, unchanged)
	began := now
	end(admit(true), fails, down, unchanged)
	end(admit(true), silent, context.Canceled, unchanged)
	now = now.Add(time.Second)
	end(admit(true), fails, down, unchanged)
	late := admit(true)
	out := end(admit(true), fails, down, wentDown)
	if out.failures != 3 || !out.since.Equal(began) || !out.until.Equal(now.Add(time.Minute)) || out.why != down {
		t.Errorf("outage: %+v", out)
	}
	end(late, fails, down, unchanged) // one that had begun before
	admit(false)

	// After the pause one call tries, alone. One that was cut off leaves it to the next.
	now = now.Add(time.Minute)
	trial := admit(true)
	admit(false)
	end(trial, silent, context.Canceled, unchanged)
	trial = admit(true)
	if !trial {
		t.Fatal("not a trial")
	}
	end(late, fails, down, unchanged) // does not end the trial
	admit(false)
	if out := end(trial, fails, down, wentDown); out.failures != 4 || !out.since.Equal(began) {
		t.Errorf("outage: %+v", out)
	}
	admit(false)
	now = now.Add(time.Minute)
	if out := end(admit(true), answers, nil, cameUp); !out.since.Equal(began) {
		t.Errorf("outage: %+v", out)
	}
	if admit(true) {
		t.Error("a closed one knows no trial")
	}
	if _, ok := b.problem("p", time.UTC); ok {
		t.Error("all is well, and there is a problem")
	}

	// Turned away is no outage, and yet something the owner has to know.
	end(false, answers, bus.Errorf(bus.CodeDenied, "no credit").WithHint("pay"), unchanged)
	if p, _ := b.problem("p", time.UTC); p.Code != "provider_denied" || p.Title != "p: no credit" || p.Hint != "pay" {
		t.Errorf("problem: %+v", p)
	}
}

func TestJudge(t *testing.T) {
	live := t.Context()
	cut, cancel := context.WithCancel(live)
	cancel()
	late, cancel := context.WithTimeout(live, 0)
	defer cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		err   error
		heard bool
		want  verdict
	}{
		"an answer":           {live, nil, true, answers},
		"an answer in time":   {late, nil, true, answers},
		"unavailable":         {live, fmt.Errorf("ask: %w", bus.Errorf(bus.CodeUnavailable, "x")), false, fails},
		"broken off":          {live, bus.Errorf(bus.CodeUnavailable, "x"), true, fails},
		"wrong key":           {live, bus.Errorf(bus.CodeDenied, "x"), false, answers},
		"a defect":            {live, errors.New("x"), false, silent},
		"we stop":             {cut, bus.Errorf(bus.CodeUnavailable, "x"), false, silent},
		"no word in time":     {late, context.DeadlineExceeded, false, fails},
		"words, but too slow": {late, context.DeadlineExceeded, true, silent},
	} {
		if got := judge(c.ctx, c.err, c.heard); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
