// SPDX-License-Identifier: MIT OR Apache-2.0

package denial

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// hearer is a Teller whose facts are heard instead of recorded.
func hearer(hear func([]bus.DeniedFact) error) *Teller {
	t := New("here", nil, nil, time.Now)
	t.record = func(_ context.Context, facts []bus.DeniedFact) error { return hear(facts) }
	return t
}

func bad(d *Teller) { d.Note(Denial{Reason: "bad"}) }

func TestToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		var full atomic.Bool
		begun := time.Now()
		d := hearer(func(facts []bus.DeniedFact) error {
			if full.Load() {
				return errors.New("disk full")
			}
			for _, f := range facts {
				told = append(told, fmt.Sprintf("%s %s %d at %s", f.Where, f.Reason, f.Count, time.Since(begun)))
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Run(ctx, bustest.Logger(t)) }()
		bad(d)
		synctest.Wait()
		for range 1000 {
			bad(d)
		}
		time.Sleep(90 * time.Second)
		bad(d)
		full.Store(true)
		time.Sleep(60 * time.Second)
		full.Store(false)
		bad(d)
		time.Sleep(5 * time.Minute)
		bad(d)
		synctest.Wait()
		bad(d)
		cancel()
		<-done
		want := []string{"here bad 1 at 0s", "here bad 1000 at 1m0s", "here bad 2 at 3m0s", "here bad 1 at 7m30s", "here bad 1 at 7m30s"}
		if fmt.Sprint(told) != fmt.Sprint(want) {
			t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Each reason and each who has a window of its own, up to a bound; not one refusal
// is lost by it.
func TestWindowsAreBounded(t *testing.T) {
	d := hearer(nil)
	const strangers, each = 5 * maxWindows, 3
	for i := range strangers {
		for range each {
			d.Note(Denial{Reason: "no_key", Who: fmt.Sprint("stranger ", i), Subject: fmt.Sprint("door ", i)})
		}
		d.Note(Denial{Reason: "limit", Who: fmt.Sprint("stranger ", i)})
	}
	facts := d.due(false)
	sum := map[string]int64{}
	for _, f := range facts {
		sum[f.Reason] += f.Count
		if f.Who == "" && f.Subject != "" || f.Who != "" && f.Reason == "no_key" && f.Subject != "door "+strings.TrimPrefix(f.Who, "stranger ") {
			t.Errorf("%+v", f)
		}
	}
	if sum["no_key"] != strangers*each || sum["limit"] != strangers {
		t.Errorf("counted %v", sum)
	}
	if n := len(facts); n < maxWindows || n > maxWindows+2 || n != len(d.windows) {
		t.Errorf("%d events, %d windows", n, len(d.windows))
	}
	for i, m := range d.Metrics() {
		if got := testutil.ToFloat64(m); got != maxWindows {
			t.Errorf("gauge %d is %v", i, got)
		}
	}
	d.restore(facts)
	if again := d.due(true); len(again) != len(facts) || again[5] != (bus.DeniedFact{Time: again[5].Time, Where: "here", Reason: facts[5].Reason, Who: facts[5].Who, Subject: facts[5].Subject, Count: facts[5].Count}) {
		t.Errorf("taken back: %d of %d", len(again), len(facts))
	}
	if d.due(true); len(d.windows) != 0 {
		t.Errorf("%d windows are left", len(d.windows))
	}
}

func TestStrangersTextIsCleaned(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"blufio.v1.evt.x":                "blufio.v1.evt.x",
		"a\nb\x1b[31m\u202e\x00":         "a?b?[31m??",
		"caf\xe9":                        "caf?",
		strings.Repeat("x", 1000):        strings.Repeat("x", maxSubject),
		strings.Repeat("\xff", 1000):     strings.Repeat("?", maxSubject),
		strings.Repeat("x", 127) + "éé":  strings.Repeat("x", 127) + "?",
		strings.Repeat("日", maxSubject):  strings.Repeat("日", maxSubject/3) + "??",
		"<script>alert('a')</script> %s": "<script>alert('a')</script> %s",
	} {
		if got := clean(in, maxSubject); got != want || len(got) > maxSubject || !utf8.ValidString(got) {
			t.Errorf("%.40q: %q, want %q", in, got, want)
		}
	}
}

func TestRecorded(t *testing.T) {
	store := roomtest.Store(t)
	events := eventlog.New(store)
	d := New("bus", store, events, time.Now)
	d.Note(Denial{Reason: "permission", Who: "device", Subject: "blufio.v1.evt.x"})
	d.Note(Denial{Reason: "permission", Who: "device", Subject: "blufio.v1.evt.y"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.Run(ctx, bustest.Logger(t))
	rows, err := events.After(t.Context(), 0, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d events, %v", len(rows), err)
	}
	if got := string(rows[0].Payload); !strings.Contains(got, `"where":"bus","reason":"permission","who":"device","subject":"blufio.v1.evt.x","count":2`) {
		t.Error(got)
	}
}
