// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
)

// life is a daemon within this process, on a clock that is wrong by shift.
type life struct {
	t     *testing.T
	p     plan
	shift time.Duration
	stop  func()
}

// live starts one. Its clock goes on as the real one does.
func live(t *testing.T, p plan, shift time.Duration) *life {
	t.Helper()
	cfg, _, err := serve.Load(config.Sources{Files: []string{p.config()}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Options{Config: cfg, DataDir: p.data(), Version: "test", Logger: bustest.Logger(t),
			Ready: func(serve.Info) { close(ready) }, Now: func() time.Time { return time.Now().Add(shift) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("clock %+v: the daemon does not start: %v", shift, err)
	case <-time.After(startLimit):
		t.Fatalf("clock %+v: the daemon does not start", shift)
	}
	return &life{t, p, shift, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("clock %+v: the daemon ended with %v", shift, err)
		}
	}}
}

// say hands a message over under a key and waits for what becomes of it.
func (l *life) say(key string) (bus.Accepted, bus.MessageRecord) {
	l.t.Helper()
	acc, err := ask(l.t.Context(), l.p, bus.MessageReceive, bus.Message{Channel: terminal, Owner: "ann", Text: "what about " + key, ExternalID: key})
	if err != nil {
		l.t.Fatalf("clock %+v: %v", l.shift, err)
	}
	var m bus.MessageRecord
	until(l.t, "the message has an end", ackLimit, func() bool {
		if m, err = ask(l.t.Context(), l.p, bus.MessageGet, bus.MessageQuery{ID: acc.ID, Owner: "ann"}); err != nil {
			l.t.Fatalf("clock %+v: %v", l.shift, err)
		}
		return m.State != bus.StateQueued && m.State != bus.StateRunning
	})
	return acc, m
}

// idle is the share of a processor that the daemon takes while nobody speaks.
func idle(t *testing.T) float64 {
	t.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, before := time.Now(), used()
	time.Sleep(time.Second / 4) // what is measured
	return float64(used()-before) / float64(time.Since(began))
}

// TestClock: a daemon that is started with a clock a day ahead, or behind again,
// forgets nothing too early, holds each day's budget, and does not spin.
func TestClock(t *testing.T) {
	m := newModel(t)
	m.pace = pace{}
	p := newPlan(t, m, "max_reply_tokens = 50")
	// One call a day: it costs a thousandth of a dollar, reserved are up to two, and what is left is too little for a second.
	settings, err := os.ReadFile(p.config())
	if err != nil {
		t.Fatal(err)
	}
	settings = []byte(strings.Replace(string(settings), "daily_usd = 0", "daily_usd = 0.0018", 1))
	if err := os.WriteFile(p.config(), settings, 0o600); err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	var first bus.Accepted
	var token bus.Token
	for i, tt := range []struct {
		shift time.Duration
		spent bool // that day's budget, before this life
	}{{0, false}, {0, true}, {day, false}, {0, true}, {-day, false}, {day, true}} {
		l := live(t, p, tt.shift)
		if i == 0 {
			first, _ = l.say("key")
			if token, err = ask(t.Context(), p, bus.TokenIssue, bus.TokenRequest{Subject: "ann", Scopes: []string{"chat"}, Seconds: 3 * 86400}); err != nil {
				t.Fatal(err)
			}
		} else {
			switch _, got := l.say(fmt.Sprint("key-", i)); {
			case !tt.spent && got.State != bus.StateAnswered:
				t.Errorf("life %d, clock %+v: a fresh day's message is %s: %s", i, tt.shift, got.State, got.Reply)
			case tt.spent && (got.State != bus.StateFailed || !strings.Contains(got.Reply, "daily budget")):
				t.Errorf("life %d, clock %+v: with the day's budget spent, the message is %s: %s", i, tt.shift, got.State, got.Reply)
			}
		}
		if again, _ := l.say("key"); i > 0 && (!again.Duplicate || again.ID != first.ID) {
			t.Errorf("life %d, clock %+v: a message that came before is taken as %+v, want a duplicate of %s", i, tt.shift, again, first.ID)
		}
		h, err := ask(t.Context(), p, bus.AgentHistory, bus.HistoryQuery{Channel: terminal, Owner: "ann", Session: "main"})
		if err != nil || len(h.Messages) != i+1 {
			t.Errorf("life %d, clock %+v: the history has %d messages, want %d: %v", i, tt.shift, len(h.Messages), i+1, err)
		}
		web := &httpLane{plan: p, token: token.Token}
		var sessions any
		if _, err := web.call(t.Context(), http.MethodGet, "/v1/sessions", "", nil, &sessions); err != nil {
			t.Errorf("life %d, clock %+v: a token of the first day: %v", i, tt.shift, err)
		}
		if share := idle(t); share > 0.5 {
			t.Errorf("life %d, clock %+v: doing nothing takes %.0f %% of a processor", i, tt.shift, 100*share)
		}
		p.settle(t, &findings{settleLimit: settleLimit})
		l.stop()
	}
}
