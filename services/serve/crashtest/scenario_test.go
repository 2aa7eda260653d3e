// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// soaking reports whether the long variants run.
func soaking() bool { return os.Getenv("SOAK_KILLS") != "" }

// longer is short in `make test` and long in `make soak`.
func longer[T any](short, long T) T {
	if soaking() {
		return long
	}
	return short
}

// traffic is the driver within this process.
type traffic struct {
	stop  io.Closer
	acked atomic.Int64
	ended chan error
}

// Write counts acknowledgements.
func (tr *traffic) Write(p []byte) (int, error) {
	tr.acked.Add(int64(len(p)))
	return len(p), nil
}

// talk begins traffic. It goes on until finish.
func talk(t *testing.T, p plan) *traffic {
	t.Helper()
	in, stop := io.Pipe()
	tr := &traffic{stop: stop, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { tr.ended <- drive(ctx, p, in, tr) }()
	t.Cleanup(func() {
		cancel()
		_ = stop.Close()
	})
	return tr
}

// await returns after n more acknowledgements.
func (tr *traffic) await(t *testing.T, n int64) {
	t.Helper()
	want := tr.acked.Load() + n
	until(t, "the traffic is acknowledged", ackLimit, func() bool { return tr.acked.Load() >= want })
}

// finish ends it when what is under way is acknowledged.
func (tr *traffic) finish(t *testing.T) {
	t.Helper()
	if err := tr.stop.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-tr.ended:
		if err != nil {
			t.Fatalf("traffic: %v", err)
		}
	case <-time.After(2 * ackLimit):
		t.Fatal("the traffic does not end")
	}
}

// until polls for what no one announces.
func until(t *testing.T, what string, limit time.Duration, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > limit {
			t.Fatalf("waited %s in vain until %s", limit, what)
		}
		time.Sleep(lookEvery)
	}
	return time.Since(began)
}

// report makes what was found the test's.
func (f *findings) report(t *testing.T) {
	t.Helper()
	for _, problem := range f.problems {
		t.Error(problem)
	}
	if more := f.count - len(f.problems); more > 0 {
		t.Errorf("and %d more", more)
	}
}

// probe hands one command over, on the bus, and does not try again.
func probe(t *testing.T, p plan, key string) (bus.Accepted, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := dial(p, bus.MessageReceive)
	if err != nil {
		return bus.Accepted{}, err
	}
	defer c.NATS().Close()
	return bus.MessageReceive.Ask(ctx, c, bus.Message{Channel: terminal, Owner: "probe", Session: "probe", Text: "/help " + key, ExternalID: key})
}

// TestModelAway: while the model's server refuses, and while there is none,
// messages are accepted and answered with the reason; afterwards they are
// answered, and nothing is left over.
func TestModelAway(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	p := newPlan(t, m, `breaker_pause = "1s"`)
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	tr := talk(t, p)
	tr.await(t, 40)
	away := longer(time.Second, 5*time.Minute)
	m.refuse(503)
	time.Sleep(away) // the outage itself
	m.down()
	time.Sleep(away)
	m.refuse(0)
	m.up(t)
	answers := func() bool { // the breaker gives the model its time
		bills, _ := m.seen()
		return len(bills) > 0 && bills[len(bills)-1].whole
	}
	before, _ := m.seen()
	took := until(t, "the model is asked again", ackLimit, func() bool { now, _ := m.seen(); return len(now) > len(before)+10 && answers() })
	tr.await(t, 40)
	tr.finish(t)
	found := &findings{speakers: speakers, settleLimit: settleLimit, mayFail: true}
	judge(t, p, d, m, found, nil)
	found.report(t)
	if found.failed == 0 {
		t.Error("no message met the outage: this run has proved nothing")
	}
	t.Logf("away for %s: %d acknowledged, %d answered, %d told why not, %d estimates; asked again %s after the return",
		2*away, found.acknowledged, found.answered, found.failed, found.estimates, took.Round(time.Millisecond))
}

// TestPoison: a message that ends the process each time it is thought about
// becomes a dead letter, and all others are answered.
func TestPoison(t *testing.T) {
	t.Parallel()
	const poisoned, bystanders = "terminal-poison", 6
	m := newModel(t)
	p := newPlan(t, m)
	hold := m.hold()
	b, trap := build(t, armed), "BLUFIO_FAILPOINT=reserve.granted=poison"
	d := start(t, p, b, trap)
	d.awaitHealthy(t)
	ids := map[string]string{} // by session
	send := func(session, text string) {
		acc, err := ask(t.Context(), p, bus.MessageReceive, bus.Message{Channel: terminal, Owner: "poison", Session: session, Text: text, ExternalID: session})
		if err != nil && !strings.Contains(text, "poison") { // the daemon may be gone before it says that it took that one
			t.Fatalf("send %q: %v", text, err)
		}
		ids[session] = acc.ID
	}
	for i := range bystanders {
		send(string(rune('a'+i)), "what about you")
	}
	until(t, "the bystanders are thought about", ackLimit, func() bool { bills, _ := m.seen(); return len(bills) == bystanders })
	send(poisoned, "poison")
	for range maxCrashes - 1 {
		d.awaitDeath(t, "poison")
		d = start(t, p, b, trap)
	}
	close(hold) // the first attempts of the others ended with the poison's; now they could be answered
	d.awaitDeath(t, "poison")
	d = start(t, p, b, trap)
	d.awaitHealthy(t)
	p.settle(t, &findings{settleLimit: settleLimit})
	for session := range ids {
		h, err := ask(t.Context(), p, bus.AgentHistory, bus.HistoryQuery{Channel: terminal, Owner: "poison", Session: session})
		if err != nil || len(h.Messages) != 1 {
			t.Fatalf("session %s: %+v, %v", session, h, err)
		}
		want := bus.StateAnswered
		if session == poisoned {
			want = bus.StateDead
		}
		if got := h.Messages[0]; got.State != want {
			t.Errorf("session %s: the message is %s, want %s: %s", session, got.State, want, got.Reply)
		}
	}
	d.stop(t)
}
