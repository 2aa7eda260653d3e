// SPDX-License-Identifier: MIT OR Apache-2.0

package services_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// Each room is ready before the next begins, however long it takes, and they
// end in reverse.
func TestStartAndStopOrder(t *testing.T) {
	var j journal
	slow := make(chan struct{})
	noted := func(name string, before <-chan struct{}) *room {
		return &room{door: services.Door{Name: name}, run: func(ctx context.Context, _ *bus.Conn, ready func()) error {
			j.add(name + " begins")
			if before != nil {
				<-before
			}
			j.add(name + " is ready")
			ready()
			<-ctx.Done()
			j.add(name + " ends")
			return nil
		}}
	}
	h := open(t, bustest.New(t), nil, noted("one", nil), noted("two", slow), noted("three", nil))
	bustest.Eventually(t, "the second begins", func() bool { j.mu.Lock(); defer j.mu.Unlock(); return len(j.lines) == 3 })
	j.equals(t, "one begins", "one is ready", "two begins")
	close(slow)
	wait(t, h.ready)
	if err := h.end(t); err != nil {
		t.Error(err)
	}
	j.equals(t, "one begins", "one is ready", "two begins", "two is ready", "three begins", "three is ready",
		"three ends", "two ends", "one ends")
}

// A failed start names the room, stops what had started and begins no more.
func TestFailedStart(t *testing.T) {
	tests := map[string]struct {
		run  func(context.Context, *bus.Conn, func()) error
		want string
	}{
		"error":       {func(context.Context, *bus.Conn, func()) error { return errBroken }, "bad: broken"},
		"panic":       {func(context.Context, *bus.Conn, func()) error { panic("oh") }, "bad: panic: oh"},
		"nil":         {func(context.Context, *bus.Conn, func()) error { return nil }, "bad: returned without being asked to"},
		"not in time": {nil, "start bad: not ready after 30s"},
		"no such lane": {func(ctx context.Context, c *bus.Conn, ready func()) error {
			c.NATS().Close()
			ready()
			<-ctx.Done()
			return nil
		}, "bad: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var j journal
			noted := func(name string) *room {
				return &room{door: services.Door{Name: name}, run: func(ctx context.Context, _ *bus.Conn, ready func()) error {
					ready()
					<-ctx.Done()
					j.add(name)
					return nil
				}}
			}
			over := make(chan time.Time) // the time of the room that is being started
			if tt.run == nil {
				tt.run = func(ctx context.Context, _ *bus.Conn, _ func()) error { close(over); <-ctx.Done(); return nil }
			}
			h := open(t, bustest.New(t), func(c *services.Config) { c.After = func(time.Duration) <-chan time.Time { return over } },
				noted("one"), noted("two"), &room{door: services.Door{Name: "bad"}, run: tt.run}, noted("never"))
			wait(t, h.ended)
			if h.err == nil || !strings.HasPrefix(h.err.Error(), tt.want) {
				t.Errorf("Run: %v, want %s", h.err, tt.want)
			}
			select {
			case <-h.ready:
				t.Error("the house was ready")
			default:
			}
			j.equals(t, "two", "one")
		})
	}
}

func TestStopWhileStarting(t *testing.T) {
	began := make(chan struct{})
	h := open(t, bustest.New(t), nil, calm("one"), &room{door: services.Door{Name: "two"}, run: func(ctx context.Context, _ *bus.Conn, _ func()) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}})
	wait(t, began)
	if err := h.end(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Handlers are added once, also for a room that says ready twice.
func TestReadyTwice(t *testing.T) {
	b := bustest.New(t)
	heard := make(chan struct{}, 8)
	r := calm("two", bus.Pulse.On(func(context.Context, bus.Health) { heard <- struct{}{} }))
	r.run = func(ctx context.Context, c *bus.Conn, ready func()) error {
		ready()
		return untilAsked(ctx, c, ready)
	}
	h := open(t, b, nil, r)
	wait(t, h.ready)
	if err := bus.Pulse.Publish(b.Connect(t, "control", bus.Pulse), bus.Health{}); err != nil {
		t.Fatal(err)
	}
	wait(t, heard)
	if err := h.end(t); err != nil { // what was said is heard before the connection ends
		t.Error(err)
	}
	if len(heard) > 0 {
		t.Error("heard twice")
	}
}

// What is in flight at a stop arrives, because no connection drains before every
// Run has returned: the agent, in its last words, delivers a reply to the gateway,
// whose Run has returned before, and a call that the gateway makes even later is
// answered by the agent, whose Run has then returned too.
func TestInFlightAtStop(t *testing.T) {
	b := bustest.New(t)
	var j journal
	asked, agentGone := make(chan struct{}), make(chan struct{})
	agent := calm("agent", bus.MessageReceive.Answer(func(context.Context, bus.Message) (bus.Accepted, error) {
		j.add("agent accepts")
		return bus.Accepted{ID: "7"}, nil
	}))
	agent.door.Says = []bus.Lane{bus.MessageSend}
	agent.run = func(ctx context.Context, c *bus.Conn, ready func()) error {
		defer close(agentGone)
		err := untilAsked(ctx, c, ready)
		j.add("agent ends")
		_, lost := bus.MessageSend.To("gateway").Ask(context.WithoutCancel(ctx), c, bus.Reply{})
		return errors.Join(err, lost)
	}
	var front *bus.Conn
	gateway := calm("gateway",
		bus.MessageSend.To("gateway").Answer(func(context.Context, bus.Reply) (bus.Receipt, error) {
			j.add("gateway delivers")
			return bus.Receipt{}, nil
		}),
		bus.TokenIssue.Answer(func(ctx context.Context, _ bus.TokenRequest) (bus.Token, error) {
			close(asked)
			<-agentGone
			_, err := bus.MessageReceive.Ask(ctx, front, bus.Message{})
			return bus.Token{Token: "x"}, err
		}))
	gateway.door.Says = []bus.Lane{bus.MessageReceive}
	gateway.run = func(ctx context.Context, c *bus.Conn, ready func()) error {
		front = c
		err := untilAsked(ctx, c, ready)
		j.add("gateway ends")
		return err
	}
	h := open(t, b, nil, agent, gateway)
	wait(t, h.ready)
	person := b.Connect(t, "person", bus.TokenIssue)
	answer := make(chan error, 1)
	go func() {
		_, err := bus.TokenIssue.Ask(context.WithoutCancel(t.Context()), person, bus.TokenRequest{})
		answer <- err
	}()
	wait(t, asked)
	if err := h.end(t); err != nil {
		t.Error(err)
	}
	if err := wait(t, answer); err != nil {
		t.Errorf("the answer in flight is lost: %v", err)
	}
	j.equals(t, "gateway ends", "agent ends", "gateway delivers", "agent accepts")
}

// Neither a room nor a handler that is stuck holds the stop longer than
// DrainTimeout, and a stuck room does not cut off the answers of others.
func TestDrainTimeoutIsKept(t *testing.T) {
	const limit = 400 * time.Millisecond
	free := make(chan struct{})
	defer close(free)
	stuckRoom := calm("stuck")
	stuckRoom.run = func(_ context.Context, _ *bus.Conn, ready func()) error { ready(); <-free; return nil }
	var asked, costEnded chan struct{}
	tests := map[string]struct {
		last   services.Service
		answer func(ctx context.Context) error
		want   bool // that the caller gets an answer
	}{
		"stuck room":    {stuckRoom, func(context.Context) error { <-costEnded; return nil }, true},
		"stuck handler": {calm("fine"), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := bustest.New(t)
			asked, costEnded = make(chan struct{}), make(chan struct{})
			cost := calm("cost", bus.CostReserve.Answer(func(ctx context.Context, _ bus.Reserve) (bus.Reserved, error) {
				close(asked)
				return bus.Reserved{}, tt.answer(ctx)
			}))
			cost.run = func(ctx context.Context, c *bus.Conn, ready func()) error {
				defer close(costEnded) // when the stuck room has had its time
				return untilAsked(ctx, c, ready)
			}
			h := open(t, b, func(c *services.Config) { c.DrainTimeout = limit }, cost, tt.last)
			wait(t, h.ready)
			c := b.Connect(t, "agent", bus.CostReserve)
			answer := make(chan error, 1)
			go func() {
				_, err := bus.CostReserve.Ask(context.WithoutCancel(t.Context()), c, bus.Reserve{})
				answer <- err
			}()
			wait(t, asked)
			began := time.Now()
			if err := h.end(t); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < limit/2 || took > 2*limit {
				t.Errorf("stopped after %s, want about %s", took, limit)
			}
			if tt.want {
				if err := wait(t, answer); err != nil {
					t.Errorf("answer: %v", err)
				}
			}
		})
	}
}

func TestNewHouseRefuses(t *testing.T) {
	counter := func() prometheus.Collector {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_test_total", Help: "Of this test."})
	}
	metered := func(name string) *room {
		r := calm(name)
		r.door.Metrics = []prometheus.Collector{counter()}
		return r
	}
	tests := map[string][]services.Service{
		"a name twice":    {calm("one"), calm("one")},
		"no name":         {calm("")},
		"not a word":      {calm("a.b")},
		"the same metric": {metered("one"), metered("two")},
	}
	for name, rooms := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := services.NewHouse(services.Config{Rooms: rooms, Logger: bustest.Logger(t), Registry: prometheus.NewRegistry(),
				Connect: func(string) (*nats.Conn, error) { return nil, errBroken }})
			if err == nil {
				t.Error("accepted")
			}
		})
	}
	registry := prometheus.NewRegistry()
	for i := range 2 {
		_, err := services.NewHouse(services.Config{Logger: bustest.Logger(t), Registry: registry})
		if (err == nil) != (i == 0) {
			t.Errorf("house %d on one registry: %v", i, err)
		}
	}
}
