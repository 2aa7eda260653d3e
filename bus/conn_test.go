// SPDX-License-Identifier: MIT OR Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go/micro"
)

// answering returns a connection that may ask cost.get, and a room that answers
// it with fn.
func answering(t *testing.T, workers, queue int, fn func(context.Context, bus.CostQuery) (bus.CostSummary, error)) (asker *bus.Conn) {
	t.Helper()
	b := bustest.New(t)
	room := b.Connect(t, "cost")
	if err := room.Handle(t.Context(), bus.CostGet.Answer(fn).Workers(workers).Queue(queue)); err != nil {
		t.Fatal(err)
	}
	return b.Connect(t, "control", bus.CostGet)
}

func TestAskAnswers(t *testing.T) {
	c := answering(t, 1, 1, func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
		return bus.CostSummary{Today: 42}, nil
	})
	got, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{})
	if err != nil || got.Today != 42 {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestErrorsCrossTheBus(t *testing.T) {
	coded := &bus.Error{Code: bus.CodeBudget, Message: "today's budget is spent", Hint: "raise cost.daily_usd", RetryAfter: 1500 * time.Millisecond}
	for _, tc := range []struct {
		name string
		fail func() error
		want bus.Error
	}{
		{"coded", func() error { return coded }, *coded},
		{"of two lines", func() error {
			return &bus.Error{Code: bus.CodeInvalid, Message: "first\r\nNats-Service-Error-Code: forged"}
		},
			bus.Error{Code: bus.CodeInvalid, Message: "first  Nats-Service-Error-Code: forged"}},
		{"plain stays inside", func() error { return errors.New("password is hunter2") },
			bus.Error{Code: bus.CodeInternal, Message: "cost could not answer cost.get", Hint: "the daemon's log has the details"}},
		{"panic", func() error { panic("boom") },
			bus.Error{Code: bus.CodeInternal, Message: "cost could not answer cost.get", Hint: "the daemon's log has the details"}},
		{"deadline", func() error { return context.DeadlineExceeded }, bus.Error{Code: bus.CodeTimeout, Message: "cost.get did not finish in time"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := answering(t, 1, 1, func(context.Context, bus.CostQuery) (bus.CostSummary, error) { return bus.CostSummary{}, tc.fail() })
			for range 2 { // the room still answers after a panic
				_, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{})
				var got *bus.Error
				if !errors.As(err, &got) || *got != tc.want {
					t.Fatalf("got %#v, want %#v", err, tc.want)
				}
			}
		})
	}
}

// An answer that the bus does not carry is told, not swallowed.
func TestTooLargeAnAnswerIsTold(t *testing.T) {
	c := answering(t, 1, 1, func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
		return bus.CostSummary{StoppedReason: strings.Repeat("x", 2<<20)}, nil
	})
	if _, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); bus.CodeOf(err) != bus.CodeTooLarge {
		t.Fatalf("got %v", err)
	}
}

func TestAskRefusals(t *testing.T) {
	b := bustest.New(t)
	c := b.Connect(t, "control", bus.CostGet)
	t.Run("undeclared call", func(t *testing.T) {
		_, err := bus.StatusGet.Ask(t.Context(), c, bus.StatusQuery{})
		if bus.CodeOf(err) != bus.CodeDenied {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("undeclared event", func(t *testing.T) {
		if err := bus.Pulse.Publish(c, bus.Health{}); bus.CodeOf(err) != bus.CodeDenied {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("durable event is not published", func(t *testing.T) {
		if err := bus.TurnCompleted.Publish(c, bus.TurnFact{}); err == nil || !strings.Contains(err.Error(), "durable") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		_, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{})
		if bus.CodeOf(err) != bus.CodeUnavailable || !bus.Nobody(err) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a token of two words", func(t *testing.T) {
		c := b.Connect(t, "agent", bus.MessageSend)
		if _, err := bus.MessageSend.To("a.b").Ask(t.Context(), c, bus.Reply{}); err == nil {
			t.Fatal("asked")
		}
	})
}

// A denied call fails at once and says so: NATS alone would let it time out.
func TestDeniedCallDoesNotWait(t *testing.T) {
	b := bustest.New(t)
	c := b.Operator(t, bus.MemoryRead) // operators may not speak to the governor
	start := time.Now()
	_, err := bus.MemoryRead.Ask(t.Context(), c, bus.MemoryQuery{})
	if bus.CodeOf(err) != bus.CodeDenied || !strings.Contains(err.Error(), "permission denied: "+bus.MemoryRead.Spec().Subject()) {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(start); took >= bus.MemoryRead.Spec().Timeout {
		t.Errorf("waited %s", took)
	}
}

func TestBusyBeyondTheBound(t *testing.T) {
	const workers, queue = 2, 3
	release, started := make(chan struct{}), make(chan struct{}, workers+queue)
	var running, most atomic.Int32
	c := answering(t, workers, queue, func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer running.Add(-1)
		started <- struct{}{}
		<-release
		return bus.CostSummary{}, nil
	})
	results := make(chan error, 20)
	for range cap(results) {
		go func() {
			_, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{})
			results <- err
		}()
	}
	for range cap(results) - workers - queue { // all beyond the bound are told at once
		if err := <-results; bus.CodeOf(err) != bus.CodeBusy || !bus.Retryable(err) {
			t.Errorf("got %v", err)
		}
	}
	for range workers {
		<-started
	}
	close(release)
	for range workers + queue {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n != workers {
		t.Errorf("%d answers at once, want %d", n, workers)
	}
}

func TestDeadlineReachesTheHandler(t *testing.T) {
	ended := make(chan error, 1)
	c := answering(t, 1, 1, func(ctx context.Context, _ bus.CostQuery) (bus.CostSummary, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return bus.CostSummary{}, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := bus.CostGet.Ask(ctx, c, bus.CostQuery{}); err == nil {
		t.Fatal("answered")
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("handler ended with %v", err)
		}
	case <-time.After(2 * time.Second): // the lane's own timeout; the caller's was much shorter
		t.Error("the handler outlived its caller")
	}
}

func TestTraceReachesTheHandler(t *testing.T) {
	c := answering(t, 1, 1, func(ctx context.Context, _ bus.CostQuery) (bus.CostSummary, error) {
		return bus.CostSummary{StoppedReason: bus.Trace(ctx)}, nil
	})
	got, err := bus.CostGet.Ask(bus.WithTrace(t.Context(), "abc"), c, bus.CostQuery{})
	if err != nil || got.StoppedReason != "abc" {
		t.Fatalf("got %q, %v", got.StoppedReason, err)
	}
}

// Whatever was accepted before a drain is answered, in every interleaving.
func TestDrainAnswersWhatWasAccepted(t *testing.T) {
	b := bustest.New(t)
	room := b.Connect(t, "cost")
	started, release := make(chan struct{}, 8), make(chan struct{})
	err := room.Handle(t.Context(), bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) {
		started <- struct{}{}
		<-release
		return bus.CostSummary{Today: 7}, nil
	}).Workers(8))
	if err != nil {
		t.Fatal(err)
	}
	c := b.Connect(t, "control", bus.CostGet)
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			if got, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); err != nil || got.Today != 7 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for range 8 {
		<-started
	}
	drained := make(chan error, 1)
	go func() { drained <- room.Drain(t.Context()) }()
	close(release)
	asking.Wait()
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if _, err := bus.CostGet.Ask(t.Context(), c, bus.CostQuery{}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Errorf("after the drain: %v", err)
	}
}

func TestDrainGivesUpInTime(t *testing.T) {
	b := bustest.New(t)
	room := b.Connect(t, "cost")
	started := make(chan struct{})
	err := room.Handle(t.Context(), bus.CostGet.Answer(func(ctx context.Context, _ bus.CostQuery) (bus.CostSummary, error) {
		close(started)
		<-ctx.Done() // stuck until the drain cancels it
		return bus.CostSummary{}, ctx.Err()
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := b.Connect(t, "control", bus.CostGet)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_, _ = bus.CostGet.Ask(t.Context(), c, bus.CostQuery{})
	}()
	<-started
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := room.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-asked
}

func TestEventPanicIsContained(t *testing.T) {
	b := bustest.New(t)
	listener := b.Connect(t, "gateway")
	heard := make(chan bus.Health, 2)
	err := listener.Handle(t.Context(), bus.Pulse.On(func(_ context.Context, h bus.Health) {
		if h.State == "bad" {
			panic("boom")
		}
		heard <- h
	}))
	if err != nil {
		t.Fatal(err)
	}
	c := b.Connect(t, "control", bus.Pulse)
	for _, state := range []string{"bad", "healthy"} {
		if err := bus.Pulse.Publish(c, bus.Health{State: state}); err != nil {
			t.Fatal(err)
		}
	}
	if h := <-heard; h.State != "healthy" {
		t.Errorf("heard %+v", h)
	}
}

// The running house is visible to `nats micro`.
func TestCallsAreMicroEndpoints(t *testing.T) {
	b := bustest.New(t)
	room := b.Connect(t, "cost")
	if err := room.Handle(t.Context(), bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) { return bus.CostSummary{}, nil })); err != nil {
		t.Fatal(err)
	}
	subject, err := micro.ControlSubject(micro.InfoVerb, "blufio-cost", "")
	if err != nil {
		t.Fatal(err)
	}
	reply, err := b.Operator(t).NATS().Request(subject, nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(reply.Data), bus.CostGet.Spec().Subject()) {
		t.Errorf("info does not show the endpoint: %s", reply.Data)
	}
}

func TestMoneyReadsWell(t *testing.T) {
	for m, want := range map[bus.MicroUSD]string{0: "$0.00", 1: "$0.000001", 31_200: "$0.0312", 5_000_000: "$5.00", -1_500_000: "-$1.50", 1_234_567_890: "$1234.56789"} {
		if got := m.String(); got != want {
			t.Errorf("%d: %s, want %s", int64(m), got, want)
		}
	}
}
