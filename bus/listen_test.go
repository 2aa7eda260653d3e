// SPDX-License-Identifier: MIT OR Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
)

// slow is a room that hears pulses and is stuck with the first until free is closed.
type slow struct {
	conn                 *bus.Conn
	queue                bus.Queue
	dropped, heard       atomic.Int64
	stuck, free, trouble chan struct{}
}

func slowRoom(t *testing.T, b *bustest.Bus) *slow {
	t.Helper()
	s := &slow{stuck: make(chan struct{}), free: make(chan struct{}), trouble: make(chan struct{}, 1)}
	nc, err := b.Server().ConnectRoom("slow")
	if err != nil {
		t.Fatal(err)
	}
	c := bus.NewConn(nc, bus.Options{Name: "slow", Logger: bustest.Logger(t), Hooks: bus.Hooks{
		Queued: func(_ *bus.Spec, q bus.Queue) { s.queue = q },
		Dropped: func(reason string) {
			if reason == "slow_consumer" {
				s.dropped.Add(1)
				select {
				case s.trouble <- struct{}{}:
				default:
				}
			}
		}}})
	s.conn = c
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := c.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
	err = c.Handle(t.Context(), bus.Pulse.On(func(context.Context, bus.Health) {
		if s.heard.Add(1) == 1 {
			close(s.stuck)
			<-s.free
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What finds no room with a listener that is stuck is dropped and counted; what did
// is heard afterwards, and who spoke was not held up.
func TestEventsBeyondTheBoundAreDropped(t *testing.T) {
	for name, tc := range map[string]struct {
		events, bytes, most int
	}{
		"by number": {9000, 0, 8192},
		"by bytes":  {20, 512 << 10, 8},
	} {
		t.Run(name, func(t *testing.T) {
			b := bustest.New(t)
			s := slowRoom(t, b)
			speaker := b.Connect(t, "control", bus.Pulse)
			say := func(h bus.Health) {
				t.Helper()
				if err := bus.Pulse.Publish(speaker, h); err != nil {
					t.Fatal(err)
				}
			}
			say(bus.Health{})
			wait(t, s.stuck)
			for n := range tc.events {
				say(bus.Health{State: strings.Repeat("x", tc.bytes)})
				if n%5 == 4 { // or the server would cut the room off
					flushed(t, speaker, s.conn)
				}
			}
			flushed(t, speaker, s.conn)
			wait(t, s.trouble)
			if waiting := s.queue.Len(); waiting > s.queue.Bound || waiting > tc.most || waiting == 0 {
				t.Errorf("%d events wait, the bound is %d", waiting, s.queue.Bound)
			}
			close(s.free)
			bustest.Eventually(t, "what waits is heard", func() bool { return s.queue.Len() == 0 })
			if n := s.heard.Load(); n < int64(tc.most)/2 || s.dropped.Load() == 0 {
				t.Errorf("%d were heard, trouble told %d times", n, s.dropped.Load())
			}
		})
	}
}

// flushed waits until the server has all that each has said, and each all that the
// server had for it by then.
func flushed(t *testing.T, conns ...*bus.Conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.NATS().FlushTimeout(5 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

func wait(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("it did not happen")
	}
}

// Listen has the same bounds, and a connection that has ended says so.
func TestListenIsBounded(t *testing.T) {
	nc := bustest.New(t).Connect(t, "one").NATS()
	sub, err := bus.Listen(nc, bus.Facts, func(*nats.Msg) {})
	if err != nil {
		t.Fatal(err)
	}
	if n, bytes, err := sub.PendingLimits(); n != 8192 || bytes != 4<<20 || err != nil {
		t.Errorf("%d messages and %d bytes may wait, %v", n, bytes, err)
	}
	nc.Close()
	if _, err := bus.Listen(nc, bus.Facts, func(*nats.Msg) {}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("on a closed connection: %v", err)
	}
}
