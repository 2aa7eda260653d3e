// SPDX-License-Identifier: MIT OR Apache-2.0

package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
)

// flooded is a room that is stuck with its only request, and with telling the first it
// has no room for that it is busy, until free is closed.
type flooded struct {
	conn                *bus.Conn
	dropped             atomic.Int64 // times that trouble was told
	full, free, trouble chan struct{}
	log                 *bustest.Text
}

// hasLine reports whether one line of a log has all the words.
func hasLine(log *bustest.Text, words ...string) bool {
	for line := range strings.Lines(log.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

func floodedRoom(t *testing.T, b *bustest.Bus) *flooded {
	t.Helper()
	f := &flooded{full: make(chan struct{}), free: make(chan struct{}), trouble: make(chan struct{}), log: &bustest.Text{}}
	nc, err := b.Server().ConnectRoom("cost")
	if err != nil {
		t.Fatal(err)
	}
	var full, trouble sync.Once
	f.conn = bus.NewConn(nc, bus.Options{Name: "cost", Logger: slog.New(slog.NewTextHandler(f.log, nil)), Hooks: bus.Hooks{
		Handled: func(_ *bus.Spec, _ time.Duration, err error) {
			if bus.CodeOf(err) == bus.CodeBusy {
				full.Do(func() { close(f.full); <-f.free })
			}
		},
		Dropped: func(reason string) {
			if reason == "slow_consumer" {
				f.dropped.Add(1)
				trouble.Do(func() { close(f.trouble) })
			}
		}}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := f.conn.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
	answer := bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
		<-f.free
		return bus.CostSummary{Today: 42}, nil
	})
	if err := f.conn.Handle(t.Context(), answer.Workers(1).Queue(0)); err != nil {
		t.Fatal(err)
	}
	return f
}

// Requests that come faster than anybody is told busy wait up to a bound. Those beyond
// are dropped, which is counted and logged, and their callers wait in vain; all others
// have their answer, and the endpoint goes on.
func TestRequestsBeyondTheBoundAreDropped(t *testing.T) {
	for name, tc := range map[string]struct{ requests, bytes, most int }{
		"by number": {9000, 0, 8192},
		"by bytes":  {24, 512 << 10, 16},
	} {
		t.Run(name, func(t *testing.T) {
			b := bustest.New(t)
			room, asker := floodedRoom(t, b), b.Connect(t, "control", bus.CostGet)
			nc := asker.NATS()
			inbox := nc.NewInbox()
			var answered, busy atomic.Int64
			sub, err := nc.Subscribe(inbox, func(m *nats.Msg) {
				answered.Add(1)
				if m.Header.Get("Nats-Service-Error-Code") == string(bus.CodeBusy) {
					busy.Add(1)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Unsubscribe() //nolint:errcheck // it fails only with the connection
			query, err := json.Marshal(struct {
				Filler string `json:"filler"`
			}{strings.Repeat("x", tc.bytes)})
			if err != nil {
				t.Fatal(err)
			}
			ask := func() {
				t.Helper()
				if err := nc.PublishRequest(bus.Prefix+bus.CostGet.Spec().Name, inbox, query); err != nil {
					t.Fatal(err)
				}
			}
			ask() // one is worked on
			ask() // one is told busy
			wait(t, room.full)
			for n := range tc.requests {
				ask()
				if n%5 == 4 { // or the server would cut the room off
					flushed(t, asker, room.conn)
				}
			}
			flushed(t, asker, room.conn)
			wait(t, room.trouble)
			if !hasLine(room.log, "bus trouble", "kind=slow_consumer", "subject="+bus.Prefix+bus.CostGet.Spec().Name) {
				t.Error("the log does not say it")
			}
			late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := bus.CostGet.Ask(late, asker, bus.CostQuery{}); !errors.Is(err, context.DeadlineExceeded) && bus.CodeOf(err) != bus.CodeTimeout {
				t.Errorf("who asks now: %v", err)
			}
			close(room.free)
			bustest.Eventually(t, "it answers again", func() bool {
				got, err := bus.CostGet.Ask(t.Context(), asker, bus.CostQuery{})
				return err == nil && got.Today == 42
			})
			bustest.Eventually(t, "all that waited are answered", func() bool { return answered.Load() >= int64(tc.most)*9/10 })
			if n := answered.Load(); n > int64(tc.most)+2 || busy.Load() < n/2 || room.dropped.Load() == 0 {
				t.Errorf("%d of %d were answered, %d of them told busy; trouble was told %d times", n, tc.requests+2, busy.Load(), room.dropped.Load())
			}
		})
	}
}
