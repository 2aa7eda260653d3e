// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

func (r *rig) list(q bus.QueueQuery) bus.QueuePage {
	r.t.Helper()
	p, err := bus.QueueList.Ask(r.t.Context(), r.ask, q)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// act does one thing to letters.
func (r *rig) act(lane bus.Call[bus.QueueAction, bus.QueueOutcome], ids ...string) bus.QueueOutcome {
	r.t.Helper()
	out, err := lane.Ask(r.t.Context(), r.ask, bus.QueueAction{IDs: ids})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func deadly(context.Context, llm.Request, func(string)) (llm.Response, error) { panic("hunter2") }

// heal lets the model answer.
func (r *rig) heal() {
	r.model.mu.Lock()
	defer r.model.mu.Unlock()
	r.model.complete = echo
}

func (r *rig) settled() {
	r.t.Helper()
	r.until("every reply is noted as delivered", func() bool { return r.status().Queues.Outbox == 0 })
}

// A message that crashed three times is taken up again and answered, where it
// stood in its conversation; the reply is another one than that of its failure.
func TestRetryOfAPoisonedMessage(t *testing.T) {
	r := newRig(t, deadly)
	r.start()
	poisoned := r.chat("s", "hello")
	if poisoned.State != bus.StateDead {
		t.Fatalf("reply: %+v", poisoned)
	}
	r.heal()
	r.chat("s", "later")
	r.settled()
	page := r.list(bus.QueueQuery{State: bus.StateDead})
	if len(page.Letters) != 1 {
		t.Fatalf("listed: %+v", page)
	}
	l := page.Letters[0]
	if l.Kind != bus.LetterMessage || l.ID != poisoned.MessageID || l.Attempts != 3 || l.Error != "internal" || l.Bytes != 5 || l.Text != "" || l.Session != "s" || l.Owner != "ann" || l.Channel != "gateway" {
		t.Errorf("listed: %+v", l)
	}
	if out := r.act(bus.QueueRetry, l.ID); out.Messages != 1 || out.Replies != 0 || len(out.Refused) != 0 {
		t.Errorf("retry: %+v", out)
	}
	got := r.wait(3)[2]
	if got.MessageID != l.ID || got.State != bus.StateAnswered || got.Text != "echo hello" || got.Key == poisoned.Key || got.Attempt != 1 {
		t.Errorf("reply: %+v", got)
	}
	asked := r.model.asked()
	if n := len(asked[len(asked)-1].Messages); n != 1 {
		t.Errorf("it was answered after what was said later: %d messages", n)
	}
	if f := facts(r, bus.MessageRetried); len(f) != 1 || f[0].MessageID != l.ID || f[0].Attempts != 3 {
		t.Errorf("retried: %+v", f)
	}
	r.settled()
	if n := r.status().Queues; n.Dead != 0 || n.Inbox != 0 {
		t.Errorf("left: %+v", n)
	}
	if out := r.act(bus.QueueRetry, l.ID); len(out.Refused) != 1 || out.Refused[0].Code != bus.CodeConflict {
		t.Errorf("retried again: %+v", out)
	}
}

// The same for one that ended the process each time; and the retry itself
// outlives a crash.
func TestRetryAfterCrashesOfTheProcess(t *testing.T) {
	r := newRig(t, gate(nil))
	r.finish = 1
	r.start()
	id := r.send("s", "deadly")
	for n := 1; n <= 3; n++ {
		r.until("it runs", func() bool { return len(r.model.asked()) == n })
		r.stopRoom()
		r.exec(`UPDATE message SET state = 'running', attempts = ?, forgiven = 0 WHERE id = ?`, n, id) // as a crash leaves it
		r.startRoom()
	}
	if got := r.wait(1)[0]; got.State != bus.StateDead || len(r.model.asked()) != 3 {
		t.Fatalf("begun %d times, reply: %+v", len(r.model.asked()), got)
	}
	r.settled()
	if out := r.act(bus.QueueRetry, id); out.Messages != 1 {
		t.Errorf("retry: %+v", out)
	}
	r.until("it runs again", func() bool { return len(r.model.asked()) == 4 })
	r.stopRoom()
	r.heal()
	r.startRoom()
	if got := r.wait(2)[1]; got.State != bus.StateAnswered || got.Text != "echo deadly" {
		t.Errorf("reply: %+v", got)
	}
}

// kill lets the replies of a session die.
func (r *rig) kill(session, text string) string {
	r.t.Helper()
	r.gateway.refuse(func(bus.Reply) error { return errDown })
	id := r.send(session, text)
	r.until("a delivery has failed", func() bool { return r.number(`SELECT count(*) FROM outbox WHERE attempts > 0`) > 0 })
	r.clock.add(73 * time.Hour)
	r.until("the reply is dead", func() bool {
		return r.number(`SELECT count(*) FROM outbox o JOIN message m ON m.seq = o.seq WHERE m.id = ? AND o.state = 'dead'`, id) == 1
	})
	return id
}

func TestRetryOfAReply(t *testing.T) {
	r := newRig(t, echo)
	r.start()
	id := r.kill("s", "hello")
	r.gateway.refuse(nil)
	l := r.list(bus.QueueQuery{State: bus.StateDead, Text: true}).Letters
	if len(l) != 1 || l[0].Kind != bus.LetterReply || l[0].ID != id || l[0].Error == "" || l[0].Text != "echo hello" || l[0].Attempts == 0 {
		t.Fatalf("listed: %+v", l)
	}
	if out := r.act(bus.QueueRetry, id); out.Replies != 1 || out.Messages != 0 {
		t.Errorf("retry: %+v", out)
	}
	if got := r.wait(1)[0]; got.MessageID != id || got.Text != "echo hello" || got.Attempt != 1 || got.Key != id {
		t.Errorf("reply: %+v", got)
	}
	r.settled()
	if f := facts(r, bus.ReplyRetried); len(f) != 1 || f[0].MessageID != id || f[0].Error == "" {
		t.Errorf("retried: %+v", f)
	}
	if n := r.number(`SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d replies are left", n)
	}
	if n := scrape(t, r.agent)["blufio_response_latency_seconds"]; n != 0 {
		t.Errorf("that it was dead for days counts as %v slow answers", n)
	}
}

// A message and its reply may both be dead: the message is answered anew, and the
// reply that told of its failure is not sent any more.
func TestRetryOfBoth(t *testing.T) {
	r := newRig(t, deadly)
	r.start()
	id := r.kill("s", "hello")
	r.gateway.refuse(nil)
	r.heal()
	if out := r.act(bus.QueueRetry, id); out.Messages != 1 || out.Replies != 1 {
		t.Errorf("retry: %+v", out)
	}
	if got := r.wait(1)[0]; got.State != bus.StateAnswered {
		t.Errorf("reply: %+v", got)
	}
	r.settled()
	if got := r.gateway.replies(); len(got) != 1 {
		t.Errorf("replies: %+v", got)
	}
	if f := facts(r, bus.ReplyDropped); len(f) != 1 {
		t.Errorf("dropped: %+v", f)
	}
}

func TestDrop(t *testing.T) {
	r := newRig(t, deadly)
	r.start()
	m := message("s", "hello")
	m.ExternalID = "x1"
	acc, err := r.trySend(m)
	if err != nil {
		t.Fatal(err)
	}
	r.wait(1)
	r.settled()
	r.heal()
	reply := r.kill("t", "second")
	out := r.act(bus.QueueDrop, acc.ID, reply, "nobody")
	if out.Messages != 1 || out.Replies != 1 || len(out.Refused) != 1 || out.Refused[0].ID != "nobody" || out.Refused[0].Code != bus.CodeNotFound {
		t.Errorf("drop: %+v", out)
	}
	if d, rd := facts(r, bus.MessageDropped), facts(r, bus.ReplyDropped); len(d) != 1 || d[0].MessageID != acc.ID || len(rd) != 1 || rd[0].MessageID != reply {
		t.Errorf("events: %+v, %+v", d, rd)
	}
	if _, err := bus.MessageGet.Ask(t.Context(), r.ask, bus.MessageQuery{ID: acc.ID}); bus.CodeOf(err) != bus.CodeNotFound {
		t.Errorf("the message: %v", err)
	}
	if got := r.get(reply); got.State != bus.StateAnswered {
		t.Errorf("the message of the reply: %+v", got)
	}
	if n := r.status().Queues.Dead; n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
	r.gateway.refuse(nil)
	if again, err := r.trySend(m); err != nil || again.Duplicate {
		t.Errorf("the source's id is not forgotten: %+v, %v", again, err)
	}
}

// What is alive, or has its reply under way, is let alone.
func TestOnlyTheDeadAreTouched(t *testing.T) {
	r := newRig(t, deadly)
	r.start()
	r.gateway.refuse(func(bus.Reply) error { return errDown })
	id := r.send("s", "hello")
	r.until("it is dead", func() bool { return r.get(id).State == bus.StateDead })
	for _, lane := range []bus.Call[bus.QueueAction, bus.QueueOutcome]{bus.QueueRetry, bus.QueueDrop} {
		if out := r.act(lane, id); len(out.Refused) != 1 || out.Refused[0].Code != bus.CodeConflict || !strings.Contains(out.Refused[0].Message, "on its way") {
			t.Errorf("with its reply under way: %+v", out)
		}
		for _, ids := range [][]string{nil, make([]string, 101)} {
			_, err := lane.Ask(t.Context(), r.ask, bus.QueueAction{IDs: ids})
			wantCode(t, err, bus.CodeInvalid)
		}
	}
	r.heal()
	r.gateway.refuse(nil)
	answered := r.chat("t", "hello")
	r.settled()
	if out := r.act(bus.QueueDrop, answered.MessageID); len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Message, "answered") {
		t.Errorf("an answered one: %+v", out)
	}
}

// The inbox's and the outbox's bounds hold for what is retried too.
func TestRetryKeepsTheBounds(t *testing.T) {
	r := newRig(t, deadly)
	r.cfg.MaxQueue = 1
	r.start()
	dead := r.chat("s", "hello").MessageID
	r.settled()
	release := make(chan struct{})
	r.model.mu.Lock()
	r.model.complete = gate(release)
	r.model.mu.Unlock()
	r.send("t", "in the way")
	if out := r.act(bus.QueueRetry, dead); len(out.Refused) != 1 || out.Refused[0].Code != bus.CodeBusy {
		t.Errorf("over the bound: %+v", out)
	}
	close(release)
	r.wait(2)
	r.until("there is room", func() bool { return r.status().Queues.Inbox == 0 })
	if out := r.act(bus.QueueRetry, dead); out.Messages != 1 {
		t.Errorf("with room: %+v", out)
	}
	r.wait(3)
}

// Pages have everything once, whatever their size, and each state can be asked for.
func TestLettersInPages(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	r := newRig(t, gate(release))
	r.start()
	for n := range 3 {
		r.send("s", numbered(n))
	}
	r.until("one runs", func() bool {
		return len(r.list(bus.QueueQuery{State: bus.StateRunning}).Letters) == 1 || len(r.model.asked()) == 1
	})
	r.exec(`INSERT INTO session (id, channel, owner, name, created_at, last_at) VALUES (99, 'gateway', 'bob', 'b', ?1, ?1)`, time.Now())
	for n := range 5 {
		r.exec(`INSERT INTO message (seq, id, session_id, text, state, received_at, finished_at, reply) VALUES (?1, ?2, 99, 'secret', ?3, ?4, ?4, 'told')`,
			100+n, fmt.Sprint("d", n), []string{"dead", "answered"}[n%2], time.Now())
		r.exec(`INSERT INTO outbox (seq, session_id, state, created_at) VALUES (?, 99, 'dead', ?)`, 100+n, time.Now())
	}
	var whole []string
	for _, l := range r.list(bus.QueueQuery{}).Letters {
		whole = append(whole, l.Kind[:1]+l.ID)
	}
	if len(whole) != 3+3+5 || whole[3] != "md0" || whole[6] != "rd0" {
		t.Fatalf("all: %v", whole)
	}
	for limit := 1; limit < 12; limit++ {
		var got []string
		for after, pages := "", 0; pages < 20; pages++ {
			p := r.list(bus.QueueQuery{Limit: limit, After: after, Text: true})
			for _, l := range p.Letters {
				got = append(got, l.Kind[:1]+l.ID)
				if l.Text == "" || l.Bytes != len(l.Text) {
					t.Errorf("text of %+v", l)
				}
			}
			if after = p.Next; after == "" {
				break
			}
		}
		if !slices.Equal(got, whole) {
			t.Errorf("in pages of %d: %v", limit, got)
		}
	}
	for state, want := range map[string]int{"dead": 8, "pending": 0} {
		if got := len(r.list(bus.QueueQuery{State: state}).Letters); got != want {
			t.Errorf("%s: %d", state, got)
		}
	}
	for _, bad := range []bus.QueueQuery{{State: "lost"}, {After: "x1"}, {After: "m"}, {After: "m-1"}, {After: "é"}} {
		_, err := bus.QueueList.Ask(t.Context(), r.ask, bad)
		wantCode(t, err, bus.CodeInvalid)
	}
}

// A page of long texts fits into what the bus carries.
func TestLettersAreCutBySize(t *testing.T) {
	r := newRig(t, echo)
	r.start()
	r.exec(`INSERT INTO session (id, channel, owner, name, created_at, last_at) VALUES (99, 'gateway', 'bob', 'b', ?1, ?1)`, time.Now())
	for n := range 8 {
		r.exec(`INSERT INTO message (id, session_id, text, state, received_at, finished_at) VALUES (?1, 99, ?2, 'dead', ?3, ?3)`, fmt.Sprint(n), strings.Repeat("x", 256<<10), time.Now())
	}
	seen := 0
	for after := ""; ; {
		p, err := bus.QueueList.Ask(t.Context(), r.ask, bus.QueueQuery{Text: true, After: after})
		if err != nil {
			t.Fatal(err)
		}
		if seen += len(p.Letters); p.Next == "" {
			break
		}
		after = p.Next
	}
	if seen != 8 {
		t.Errorf("%d letters", seen)
	}
}
