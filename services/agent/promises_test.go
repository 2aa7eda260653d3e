// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/blob"
)

// A look says nothing while it thinks: nobody may hear of it in the end.
func TestHeartbeatIsSilent(t *testing.T) {
	next := "NOTHING"
	r := beating(t, &next)
	r.model.complete = func(_ context.Context, q llm.Request, delta func(string)) (llm.Response, error) {
		if strings.Contains(last(q).Text, "a scheduled look") {
			delta("NOTHING")
			return say("NOTHING"), nil
		}
		return say("hi"), nil
	}
	var said atomic.Int32
	listener := r.bus.Connect(t, "listener")
	if err := listener.Handle(t.Context(), bus.MessageDelta.To("gateway").On(func(context.Context, bus.Delta) { said.Add(1) })); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.chat("s", "put the kettle on")
	r.noted(0)
	r.clock.add(time.Hour)
	r.until("it has looked", func() bool { return len(r.model.asked()) == 2 })
	r.until("the look ended", func() bool { return r.number(`SELECT count(*) FROM message WHERE state IN ('queued','running')`) == 0 })
	r.chat("s", "thank you") // whatever the look said was said before
	if err := listener.NATS().Flush(); err != nil {
		t.Fatal(err)
	}
	if said.Load() != 0 {
		t.Errorf("a look with nothing to say was shown")
	}
}

// What [heartbeat] says must lead to someone.
func TestHeartbeatIsChecked(t *testing.T) {
	for _, tt := range []struct {
		change func(*agent.Heartbeat)
		want   string
	}{
		{func(*agent.Heartbeat) {}, ""},
		{func(h *agent.Heartbeat) { h.Every, h.Owner = 0, "" }, ""},
		{func(h *agent.Heartbeat) { h.Every = time.Minute }, "every"},
		{func(h *agent.Heartbeat) { h.Channel = "telegarm" }, "channel"},
		{func(h *agent.Heartbeat) { h.Channel = "" }, "channel"},
		{func(h *agent.Heartbeat) { h.Owner = "" }, "owner"},
		{func(h *agent.Heartbeat) { h.Owner = "a\nb" }, "owner"},
		{func(h *agent.Heartbeat) { h.Session = "a\nb" }, "session"},
	} {
		h := agent.HeartbeatDefaults()
		h.Every, h.Channel, h.Owner = time.Hour, "telegram", "1001"
		tt.change(&h)
		var keys []string
		h.Check(func(key, _, _ string) { keys = append(keys, key) })
		if got := strings.Join(keys, " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", h, got, tt.want)
		}
	}
}

// Two answers as long as a model may give are more than the budget: the last one
// stays all the same.
func TestWindowKeepsTheNewest(t *testing.T) {
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		return say(strings.Repeat("word ", 2040*4/5)), nil
	}).start()
	r.chat("s", "tell me about the one")
	r.chat("s", "tell me about the other")
	r.chat("s", "what did you mean by the last sentence?")
	asked := r.model.asked()
	if got := len(asked[2].Messages); got < 3 {
		t.Errorf("the third question goes without any history: %d messages", got)
	}
}

// A dead letter keeps its files: it may be taken up again. When it is deleted, by
// the operator or by age, they go.
func TestDeadLettersKeepTheirFiles(t *testing.T) {
	r := newRig(t, deadly).start()
	m := message("s", "what is in it?")
	in, err := r.blobs.Put(t.Context(), bytes.NewReader([]byte("secret")), blob.Info{Name: "a.txt", MediaType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	m.Attachments = []bus.Attachment{{ID: in.ID, Kind: bus.KindDocument, MediaType: "text/plain", Name: "a.txt", Bytes: in.Bytes}}
	acc, err := r.trySend(m)
	if err != nil {
		t.Fatal(err)
	}
	r.wait(1)
	r.settled()
	r.heal()
	r.clock.add(2 * time.Hour) // Keep is one
	if err := r.blobs.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.act(bus.QueueRetry, acc.ID)
	got := r.wait(2)[1]
	r.settled()
	if !strings.Contains(got.Text, "secret") {
		t.Errorf("%q", got.Text)
	}
	if n := r.number(`SELECT sum(held) FROM blob`); n != 0 {
		t.Errorf("it was answered, and its file is held %d times", n)
	}
}

// A wish to stop that came in as the message died does not hold for a retry.
func TestRetryOfCanceled(t *testing.T) {
	r := newRig(t, deadly).start()
	poisoned := r.chat("s", "hello")
	r.settled()
	r.heal()
	r.exec(`UPDATE message SET canceled = 1 WHERE id = ?`, poisoned.MessageID) // the wish came in while the end was being written
	r.act(bus.QueueRetry, poisoned.MessageID)
	if got := r.wait(2)[1]; got.State != bus.StateAnswered {
		t.Errorf("%+v", got)
	}
}

// A reply that its channel will never take does not hold up the ones behind it.
func TestInvalidReply(t *testing.T) {
	r := newRig(t, echo)
	r.gateway.refuse(func(rep bus.Reply) error {
		if rep.Text == "echo bad" {
			return bus.Errorf(bus.CodeInvalid, "Bad Request: TOPIC_CLOSED")
		}
		return nil
	})
	r.start()
	r.send("s", "bad")
	r.send("s", "good")
	if got := r.wait(1); got[0].Text != "echo good" {
		t.Errorf("%+v", got)
	}
	if died := facts(r, bus.ReplyDied); len(died) != 1 {
		t.Errorf("%+v", died)
	}
}

// /stop does not claim to have stopped what was answered.
func TestStopTellsTheTruth(t *testing.T) {
	began := make(chan string, 8)
	gone := make(chan struct{})
	r := newRig(t, func(ctx context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		began <- last(q).Text
		<-gone // an answer that is complete as the wish comes in
		return say("answered"), nil
	})
	r.start()
	r.send("s", "think")
	<-began
	r.send("s", "/stop")
	close(gone)
	got := r.wait(2)
	if got[0].Text == "answered" && strings.Contains(got[1].Text, "without an answer") {
		t.Errorf("it was answered")
	}
}

// Files of dead letters go with them.
func TestDeadLettersLetTheirFilesGo(t *testing.T) {
	for name, end := range map[string]func(r *rig, id string){
		"dropped": func(r *rig, id string) { r.act(bus.QueueDrop, id) },
		"old": func(r *rig, _ string) {
			if err := r.agent.Expire(r.t.Context(), time.Now().AddDate(2, 0, 0)); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, deadly).start()
			in, err := r.blobs.Put(t.Context(), strings.NewReader("secret"), blob.Info{Name: "a.txt", MediaType: "text/plain"})
			if err != nil {
				t.Fatal(err)
			}
			m := message("s", "what is in it?")
			m.Attachments = []bus.Attachment{{ID: in.ID, Kind: bus.KindDocument, MediaType: "text/plain", Name: "a.txt", Bytes: in.Bytes}}
			acc, err := r.trySend(m)
			if err != nil {
				t.Fatal(err)
			}
			r.wait(1)
			r.settled()
			if n := r.number(`SELECT sum(held) FROM blob`); n != 1 {
				t.Fatalf("held %d times", n)
			}
			end(r, acc.ID)
			if n := r.number(`SELECT sum(held) FROM blob`); n != 0 || r.number(`SELECT count(*) FROM message`) != 0 {
				t.Errorf("held %d times", n)
			}
		})
	}
}
