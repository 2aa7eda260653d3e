// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"slices"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// patient is a model that answers "quick" and thinks about everything else until it
// is stopped. Each question it is asked is told to began.
func patient(began chan<- string) func(context.Context, llm.Request, func(string)) (llm.Response, error) {
	return func(ctx context.Context, r llm.Request, _ func(string)) (llm.Response, error) {
		began <- last(r).Text
		if last(r).Text == "quick" {
			return say("done"), nil
		}
		<-ctx.Done()
		return llm.Response{Usage: bus.Usage{Input: 10}}, ctx.Err()
	}
}

func (r *rig) cancel(id, owner string) (bus.MessageRecord, error) {
	return bus.MessageCancel.Ask(r.t.Context(), r.ask, bus.MessageQuery{ID: id, Owner: owner})
}

func (r *rig) mustCancel(id string) {
	r.t.Helper()
	if _, err := r.cancel(id, "ann"); err != nil {
		r.t.Fatal(err)
	}
}

// A turn under way is stopped, one that waits never begins, and what was used of the
// model is booked.
func TestCancel(t *testing.T) {
	began := make(chan string, 8)
	r := newRig(t, patient(began))
	r.model.name = "dear"
	r.start()
	running := r.send("s", "think")
	waiting := r.send("s", "think more")
	<-began
	if _, err := r.cancel(running, "eve"); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("another owner's: %v", err)
	}
	r.mustCancel(waiting)
	r.mustCancel(running)
	r.wait(2)
	for _, id := range []string{running, waiting} {
		if m := r.get(id); m.State != bus.StateFailed || m.Error != bus.CodeCanceled || m.Reply != "Stopped, as you asked." {
			t.Errorf("%+v", m)
		}
	}
	if len(began) != 0 {
		t.Errorf("the model was asked %q", <-began)
	}
	done := r.chat("s", "quick")
	if m, err := r.cancel(done.MessageID, "ann"); err != nil || m.State != bus.StateAnswered || m.Reply != "done" {
		t.Errorf("one that is answered: %+v, %v", m, err)
	}
	r.until("both calls are booked", func() bool { return r.number(`SELECT count(*) FROM cost_ledger`) == 2 })
	// BlufioTurnsFailing counts errors: a person's wish is none, though the turn has failed.
	if n, failed := r.agent.Door().Failures["turn"](), scrape(t, r.agent)["blufio_turns_total failed"]; n != 0 || failed != 2 {
		t.Errorf("%v turns failed, %v of them as errors", failed, n)
	}
}

// The command /stop stops what its session does, and nothing else.
func TestStopCommand(t *testing.T) {
	began := make(chan string, 8)
	r := newRig(t, patient(began)).start()
	one, two, other := r.send("s", "think"), r.send("s", "think more"), r.send("other", "think")
	for range 2 {
		<-began
	}
	r.chat("s", "/stop")
	for _, id := range []string{one, two} {
		if m := r.get(id); m.Error != bus.CodeCanceled {
			t.Errorf("%+v", m)
		}
	}
	if m := r.get(other); m.State != bus.StateRunning {
		t.Errorf("another session's: %+v", m)
	}
	if got := r.chat("s", "quick"); got.Text != "done" {
		t.Errorf("after it: %+v", got)
	}
	r.mustCancel(other)
}

// A wish to stop outlives the room: the turn does not begin again.
func TestCancelOutlivesACrash(t *testing.T) {
	began := make(chan string, 8)
	r := newRig(t, patient(began)).start()
	id := r.send("s", "think")
	<-began
	r.exec(`UPDATE message SET canceled = 1 WHERE id = ?`, id) // as in a crash between the commit and the stop
	r.restart()
	r.wait(1)
	if m := r.get(id); m.Error != bus.CodeCanceled || len(began) != 0 {
		t.Errorf("%+v, asked again: %v", m, len(began))
	}
	if !slices.Contains(texts(r.gateway.replies()), "Stopped, as you asked.") {
		t.Errorf("%v", texts(r.gateway.replies()))
	}
}
