// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
)

// gate is a model that answers when it is let.
func gate(open <-chan struct{}) func(context.Context, llm.Request, func(string)) (llm.Response, error) {
	return func(ctx context.Context, r llm.Request, delta func(string)) (llm.Response, error) {
		select {
		case <-open:
			return echo(ctx, r, delta)
		case <-ctx.Done():
			return llm.Response{}, ctx.Err()
		}
	}
}

func TestAcceptedIsCommitted(t *testing.T) {
	r := newRig(t, gate(nil))
	r.finish = 1 // a nanosecond: nothing is waited for
	r.start()
	acc, err := r.trySend(bus.Message{Channel: "gateway", Owner: "ann", Text: "hello"})
	if err != nil || acc.ID == "" || acc.Session != "main" || acc.Duplicate {
		t.Fatalf("accepted: %+v, %v", acc, err)
	}
	r.stop()
	r.model.complete = echo
	r.start()
	if got := r.wait(1)[0]; got.Text != "echo hello" || got.Key != acc.ID || got.MessageID != acc.ID || got.Session != "main" || got.Owner != "ann" || got.State != bus.StateAnswered || got.Attempt != 1 {
		t.Errorf("reply: %+v", got)
	}
	if m := r.get(acc.ID); m.State != bus.StateAnswered || m.Reply != "echo hello" || m.FinishedAt == nil {
		t.Errorf("message: %+v", m)
	}
}

func TestDuplicates(t *testing.T) {
	r := newRig(t, echo).start()
	m := message("s", "hello")
	m.ExternalID = "x1"
	var mu sync.Mutex
	var wg sync.WaitGroup
	ids := map[string]int{}
	fresh := 0
	for range 20 {
		wg.Go(func() {
			acc, err := r.trySend(m)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[acc.ID]++
			if !acc.Duplicate {
				fresh++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || fresh != 1 {
		t.Fatalf("20 times the same: ids %v, %d taken as new", ids, fresh)
	}
	r.wait(1)
	r.until("the room forgets the session", func() bool { w, u := r.agent.Remembered(); return w+u == 0 })
	r.restart()
	again, err := r.trySend(m)
	if err != nil || !again.Duplicate || ids[again.ID] == 0 {
		t.Errorf("after a restart: %+v, %v", again, err)
	}
	other := m
	other.Text = "something else"
	_, err = r.trySend(other)
	wantCode(t, err, bus.CodeConflict)
	other = m
	other.Session = "t"
	_, err = r.trySend(other)
	wantCode(t, err, bus.CodeConflict)
	for _, same := range []func(*bus.Message){
		func(m *bus.Message) { m.Owner = "bob" }, func(m *bus.Message) { m.Channel = "terminal" }, func(m *bus.Message) { m.ExternalID = "" },
	} {
		m := m
		same(&m)
		if acc, err := r.trySend(m); err != nil || acc.Duplicate {
			t.Errorf("%+v: %+v, %v", m, acc, err)
		}
	}
	if n := len(facts(r, bus.MessageReceived)); n != 4 {
		t.Errorf("%d messages were received, want 4", n)
	}
}

func TestInvalid(t *testing.T) {
	r := newRig(t, echo)
	r.cfg.MaxTextBytes = 100
	r.start()
	for name, c := range map[string]struct {
		change func(*bus.Message)
		code   bus.Code
	}{
		"channel":              {func(m *bus.Message) { m.Channel = "pigeon" }, bus.CodeInvalid},
		"a tool as channel":    {func(m *bus.Message) { m.Channel = "weather" }, bus.CodeInvalid},
		"no word as channel":   {func(m *bus.Message) { m.Channel = "sms.x" }, bus.CodeInvalid},
		"outside":              {func(m *bus.Message) { m.Channel = "outside" }, bus.CodeInvalid},
		"no channel":           {func(m *bus.Message) { m.Channel = "" }, bus.CodeInvalid},
		"no owner":             {func(m *bus.Message) { m.Owner = "" }, bus.CodeInvalid},
		"long owner":           {func(m *bus.Message) { m.Owner = strings.Repeat("o", 129) }, bus.CodeInvalid},
		"owner with a newline": {func(m *bus.Message) { m.Owner = "a\nb" }, bus.CodeInvalid},
		"long session":         {func(m *bus.Message) { m.Session = strings.Repeat("s", 129) }, bus.CodeInvalid},
		"session with control": {func(m *bus.Message) { m.Session = "a\x00b" }, bus.CodeInvalid},
		"long id":              {func(m *bus.Message) { m.ExternalID = strings.Repeat("x", 201) }, bus.CodeInvalid},
		"id with control":      {func(m *bus.Message) { m.ExternalID = "\t" }, bus.CodeInvalid},
		"no text":              {func(m *bus.Message) { m.Text = "" }, bus.CodeInvalid},
		"blank text":           {func(m *bus.Message) { m.Text = " \n\t" }, bus.CodeInvalid},
		"long text":            {func(m *bus.Message) { m.Text = strings.Repeat("a", 101) }, bus.CodeTooLarge},
		"all at their bounds": {func(m *bus.Message) {
			m.Owner, m.Session, m.ExternalID, m.Text = strings.Repeat("o", 128), strings.Repeat("s", 128), strings.Repeat("x", 200), strings.Repeat("a", 100)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := message("s", "hello")
			c.change(&m)
			_, err := r.trySend(m)
			wantCode(t, err, c.code)
		})
	}
	if n := r.number(`SELECT count(*) FROM message`); n != 1 {
		t.Errorf("%d messages are stored, want the one that was valid", n)
	}
}

func TestOrderWithinSessionsParallelAcross(t *testing.T) {
	open := make(chan struct{})
	r := newRig(t, gate(open))
	r.cfg.MaxTurns = 3
	r.start()
	for n := range 5 {
		for _, s := range []string{"a", "b", "c", "d"} {
			r.send(s, numbered(n))
		}
	}
	r.until("three turns run", func() bool { return len(r.model.asked()) == 3 })
	if n := r.number(`SELECT count(*) FROM message WHERE state = 'running'`); n > 3 {
		t.Errorf("%d turns run, at most 3 may", n)
	}
	s, err := bus.AgentSessions.Ask(t.Context(), r.ask, bus.SessionQuery{Channel: "gateway", Owner: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, e := range s.Sessions {
		states[e.State]++
	}
	if states["running"] != 3 || states["waiting"] != 1 {
		t.Errorf("sessions: %v, want 3 running, 1 waiting", states)
	}
	close(open)
	next := map[string]int{}
	for _, got := range r.wait(20) {
		if want := "echo " + numbered(next[got.Session]); got.Text != want {
			t.Errorf("session %s: got %q, want %q", got.Session, got.Text, want)
		}
		next[got.Session]++
	}
	r.until("the room forgets the sessions", func() bool { w, u := r.agent.Remembered(); return w+u == 0 })
}

func TestBounds(t *testing.T) {
	t.Run("queue", func(t *testing.T) {
		open := make(chan struct{})
		r := newRig(t, gate(open))
		r.cfg.MaxQueue = 3
		r.start()
		for n := range 3 {
			r.send("s", numbered(n))
		}
		_, err := r.trySend(message("s", "one too many"))
		wantCode(t, err, bus.CodeBusy)
		if p := r.agent.Door().Health(); len(p) != 1 || p[0].Code != "inbox_full" {
			t.Errorf("health: %+v", p)
		}
		close(open)
		r.wait(3)
		r.chat("s", "again")
	})
	t.Run("sessions", func(t *testing.T) {
		open := make(chan struct{})
		r := newRig(t, gate(open))
		r.cfg.MaxSessions = 2
		r.start()
		r.send("a", "1")
		r.send("b", "1")
		_, err := r.trySend(message("c", "1"))
		wantCode(t, err, bus.CodeBusy)
		r.send("a", "2") // those that are there go on
		close(open)
		r.wait(3)
		r.until("there is room again", func() bool { _, err := r.trySend(message("c", "1")); return err == nil })
		r.wait(4)
	})
	t.Run("outbox", func(t *testing.T) {
		r := newRig(t, echo)
		r.cfg.MaxOutbox = 2
		r.gateway.refuse(func(bus.Reply) error { return errDown })
		r.start()
		r.send("a", "1")
		r.send("b", "1")
		r.until("two replies wait", func() bool { return r.status().Queues.Outbox == 2 })
		_, err := r.trySend(message("c", "1"))
		wantCode(t, err, bus.CodeBusy)
		if p := r.agent.Door().Health(); len(p) != 1 || p[0].Code != "outbox_full" {
			t.Errorf("health: %+v", p)
		}
		r.gateway.refuse(nil)
		r.wait(2)
		r.until("there is room again", func() bool { _, err := r.trySend(message("c", "1")); return err == nil })
	})
	t.Run("many at once", func(t *testing.T) {
		r := newRig(t, gate(nil))
		r.cfg.MaxQueue, r.finish = 10, 1
		r.start()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _, _ = r.trySend(message("s", "x")) }) // most are refused
		}
		wg.Wait()
		if n := r.number(`SELECT count(*) FROM message`); n != 10 {
			t.Errorf("%d messages were taken, the bound is 10", n)
		}
	})
}

// A start looks at the unanswered messages only, however many others there are.
func TestStartDoesNotReadTheHistory(t *testing.T) {
	r := newRig(t, echo)
	r.open()
	for _, statement := range agent.StartStatements() {
		if text := r.plan(statement); !strings.Contains(text, "USING INDEX message_open") && !strings.Contains(text, "USING COVERING INDEX message_open") {
			t.Errorf("%s\nreads all messages: %s", statement, text)
		}
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// plan is how SQLite goes about a statement.
func (r *rig) plan(statement string) string {
	r.t.Helper()
	rows, err := r.store.Query(r.t.Context(), `EXPLAIN QUERY PLAN `+strings.ReplaceAll(statement, "?", "1"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			r.t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(plan, "; ")
}
