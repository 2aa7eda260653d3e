// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/offline"
)

// A turn that a planned stop cut off begins anew under a higher attempt, so that who
// listens across the restart does not mix the two.
func TestAttemptGrowsAcrossAStop(t *testing.T) {
	said := make(chan bus.Delta, 8)
	again := false
	r := newRig(t, func(ctx context.Context, _ llm.Request, delta func(string)) (llm.Response, error) {
		if again {
			delta("Bye")
			return say("Bye"), nil
		}
		delta("Hello")
		<-ctx.Done()
		return llm.Response{}, ctx.Err()
	})
	r.finish = 10 * time.Millisecond
	listener := r.bus.Connect(t, "listener")
	if err := listener.Handle(t.Context(), bus.MessageDelta.To("gateway").On(func(_ context.Context, d bus.Delta) { said <- d })); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.send("s", "hello")
	first := <-said
	r.stop()
	again = true
	r.start()
	if second := <-said; second.Attempt <= first.Attempt || first.Text != "Hello" || second.Text != "Bye" {
		t.Errorf("%+v, then %+v", first, second)
	}
	r.wait(1)
}

// What was said while there was no model is no part of the conversation.
func TestOfflineIsNoHistory(t *testing.T) {
	r := newRig(t, func(ctx context.Context, q llm.Request, delta func(string)) (llm.Response, error) {
		if last(q).Text == "hello" {
			return offline.Provider{}.Complete(ctx, q, delta)
		}
		return echo(ctx, q, delta)
	})
	r.start()
	if got := r.chat("s", "hello"); !strings.Contains(got.Text, "no language model") {
		t.Fatalf("%+v", got)
	}
	r.chat("s", "now there is one")
	asked := r.model.asked()
	if m := asked[len(asked)-1].Messages; len(m) != 1 {
		t.Errorf("%+v", m)
	}
}

// A full queue still takes the command that makes room in it.
func TestStopWhenTheQueueIsFull(t *testing.T) {
	began := make(chan string, 8)
	r := newRig(t, patient(began))
	r.cfg.MaxQueue = 2
	r.start()
	r.send("s", "think")
	r.send("s", "think more")
	<-began
	if _, err := r.trySend(message("s", "one more")); bus.CodeOf(err) != bus.CodeBusy {
		t.Fatalf("%v", err)
	}
	if got := r.chat("s", "/stop"); got.Text != "Stopped: 2 messages stay without an answer." {
		t.Errorf("%+v", got)
	}
	if got := r.chat("s", "/stop"); got.Text != "There was nothing to stop." {
		t.Errorf("%+v", got)
	}
}
