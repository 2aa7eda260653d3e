// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// TestStopBooksWhatACutOffCallUsed: the answer is lost, the bill is not, and the
// next try is a call of its own.
func TestStopBooksWhatACutOffCallUsed(t *testing.T) {
	const stops, tokens = 3, 1_000
	r := newRig(t, nil)
	r.model.name = "dear"
	r.model.complete = func(ctx context.Context, _ llm.Request, _ func(string)) (llm.Response, error) {
		<-ctx.Done()
		return llm.Response{Usage: bus.Usage{Input: tokens}}, ctx.Err()
	}
	r.finish = 10 * time.Millisecond
	r.start()
	id := r.send("a", "hello")
	for n := range stops {
		r.until("the model is asked", func() bool { return len(r.model.asked()) == n+1 })
		r.stop()
		if n == stops-1 {
			r.model.complete = echo
		}
		r.start()
	}
	r.wait(1)
	if m := r.get(id); m.State != bus.StateAnswered {
		t.Errorf("got %+v", m)
	}
	r.until("everything is booked", func() bool {
		return r.number(`SELECT count(*) FROM cost_ledger`) == stops+1 && r.number(`SELECT count(*) FROM settlement`) == 0
	})
	if n := r.number(`SELECT sum(input) FROM cost_ledger`); n < stops*tokens {
		t.Errorf("%d input tokens booked, %d calls of %d were cut off", n, stops, tokens)
	}
}

// TestStopDeliversBesideATurnThatHangs: one that has to be cut off does not keep
// the replies of others from leaving.
func TestStopDeliversBesideATurnThatHangs(t *testing.T) {
	r := newRig(t, nil)
	stopping := make(chan struct{})
	r.model.complete = func(ctx context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		if last(q).Text == "slow" {
			<-ctx.Done()
			return llm.Response{}, ctx.Err()
		}
		<-stopping
		return echo(ctx, q, nil)
	}
	r.finish = time.Second
	r.start()
	r.send("a", "slow")
	r.send("b", "fast")
	r.until("both are asked", func() bool { return len(r.model.asked()) == 2 })
	context.AfterFunc(r.asked, func() { close(stopping) })
	r.stop()
	if got := texts(r.gateway.replies()); len(got) != 1 {
		t.Errorf("delivered %q, want the one that was ready", got)
	}
}
