// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/internal/sqlite"
)

func TestHistory(t *testing.T) {
	r := newRig(t, echo)
	r.cfg.HistoryTokens = 28 // an exchange "mN" + "echo mN" is taken for 3 + 4 tokens
	r.start()
	heard := func(text string) string {
		r.chat("s", text)
		asked := r.model.asked()
		var out []string
		for _, m := range asked[len(asked)-1].Messages {
			out = append(out, string(m.Role[:1])+":"+m.Text)
		}
		return strings.Join(out, " ")
	}
	for n := range 5 {
		heard(numbered(n))
	}
	if got, want := heard("m5"), "u:m3 a:echo m3 u:m4 a:echo m4 u:m5"; got != want {
		t.Errorf("five do not fit: the latest in half of the budget, oldest first:\ngot  %s\nwant %s", got, want)
	}
	r.chat("s", " \n/help")
	r.chat("other", "elsewhere")
	if got, want := heard("m6"), "u:m3 a:echo m3 u:m4 a:echo m4 u:m5 a:echo m5 u:m6"; got != want {
		t.Errorf("commands and other sessions are no history, and the beginning stays:\ngot  %s\nwant %s", got, want)
	}
	r.restart()
	if got, want := heard("m6b"), "u:m3 a:echo m3 u:m4 a:echo m4 u:m5 a:echo m5 u:m6 a:echo m6 u:m6b"; got != want {
		t.Errorf("the beginning stays, also after a restart:\ngot  %s\nwant %s", got, want)
	}
	r.chat("s", "/new")
	if got, want := heard("m7"), "u:m7"; got != want {
		t.Errorf("after /new: got %s, want %s", got, want)
	}
	if got, want := heard("m8"), "u:m7 a:echo m7 u:m8"; got != want {
		t.Errorf("after /new: got %s, want %s", got, want)
	}
	asked := r.model.asked()
	first := asked[0]
	for _, a := range asked[1:] {
		if a.System != first.System || fmt.Sprint(a.Tools) != fmt.Sprint(first.Tools) {
			t.Error("the prompt's beginning changed between turns")
		}
	}
}

// remember is a call with a lasting effect.
func remember(id, text string) llm.Response {
	data, _ := json.Marshal(map[string]string{"text": text})
	return call(id, "remember", string(data))
}

func TestToolsAndCrash(t *testing.T) {
	var crash atomic.Bool
	crash.Store(true)
	stuck := make(chan struct{})
	r := newRig(t, func(ctx context.Context, req llm.Request, _ func(string)) (llm.Response, error) {
		if len(last(req).Results) == 0 {
			return remember("c1", "the boiler code is 4711"), nil
		}
		if crash.CompareAndSwap(true, false) {
			close(stuck)
			<-ctx.Done()
			return llm.Response{}, ctx.Err()
		}
		return say(last(req).Results[0].Text), nil
	})
	r.finish = 1
	r.start()
	id := r.send("s", "remember the boiler")
	<-stuck // the first round is committed, the second under way
	r.stopRoom()
	if st := r.stateOf(id); st != bus.StateQueued {
		t.Errorf("after the stop it is %s", st)
	}
	// As a crash leaves it: begun once, and nobody put it back.
	r.exec(`UPDATE message SET state = 'running', attempts = 1 WHERE id = ?`, id)
	r.startRoom()
	if got := r.wait(1)[0]; got.Text != "Noted: the boiler code is 4711" {
		t.Errorf("reply: %+v", got)
	}
	if n := len(r.facts("gateway:ann")); n != 1 {
		t.Errorf("the note was written %d times", n)
	}
	if asked := len(r.model.asked()); asked != 3 {
		t.Errorf("the model was asked %d times; the committed round must not be asked again", asked)
	}
	if cut := facts(r, bus.TurnInterrupted); len(cut) != 1 || cut[0].MessageID != id || cut[0].Attempt != 1 {
		t.Errorf("interrupted: %+v", cut)
	}
	if n := r.status().Sessions.Interrupted; n != 1 {
		t.Errorf("status counts %d interrupted turns", n)
	}
	if n := r.number(`SELECT count(*) FROM step`); n != 0 {
		t.Errorf("%d steps are left behind", n)
	}
	if tools := facts(r, bus.ToolCalled); len(tools) != 1 || !tools[0].OK || tools[0].Tool != "remember" {
		t.Errorf("tools: %+v", tools)
	}
	if done := facts(r, bus.TurnCompleted); len(done) != 1 || done[0].Rounds != 2 || done[0].Tools != 1 {
		t.Errorf("completed: %+v", done)
	}
}

// stateOf reads a message's state past the room, which may be stopped.
func (r *rig) stateOf(id string) (state string) {
	r.t.Helper()
	if err := r.store.QueryRow(r.t.Context(), `SELECT state FROM message WHERE id = ?`, id).Scan(&state); err != nil {
		r.t.Fatal(err)
	}
	return state
}

func TestThreeCrashesAreADeadLetter(t *testing.T) {
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) { panic("hunter2") })
	r.start()
	got := r.chat("s", "hello")
	if got.State != bus.StateDead || !strings.Contains(got.Text, "3 times") || strings.Contains(got.Text, "hunter2") {
		t.Errorf("reply: %+v", got)
	}
	if n := len(r.model.asked()); n != 3 {
		t.Errorf("begun %d times, want 3", n)
	}
	if m := r.get(got.MessageID); m.State != bus.StateDead || m.Error != bus.CodeInternal {
		t.Errorf("message: %+v", m)
	}
	if died := facts(r, bus.MessageDied); len(died) != 1 || died[0].MessageID != got.MessageID || died[0].Attempts != 3 {
		t.Errorf("died: %+v", died)
	}
	if n := r.status().Queues.Dead; n != 1 {
		t.Errorf("status counts %d dead letters", n)
	}
	r.model.mu.Lock()
	r.model.complete = echo
	r.model.mu.Unlock()
	if got := r.chat("s", "and now?"); got.State != bus.StateAnswered {
		t.Errorf("the session is stuck behind its dead letter: %+v", got)
	}
}

func TestBegunThriceBeforeCrashes(t *testing.T) {
	r := newRig(t, gate(nil))
	r.finish = 1
	r.start()
	id := r.send("s", "deadly")
	r.until("it runs", func() bool { return len(r.model.asked()) == 1 })
	r.stopRoom()

	r.exec(`UPDATE message SET state = 'running', attempts = 3, forgiven = 0 WHERE id = ?`, id)
	r.startRoom()
	if got := r.wait(1)[0]; got.State != bus.StateDead {
		t.Errorf("reply: %+v", got)
	}
	if n := len(r.model.asked()); n != 1 {
		t.Errorf("it was begun again")
	}
}

// odd is a tool of a test.
type odd struct {
	name string
	do   func(context.Context, tool.Call) (tool.Result, error)
}

func (o odd) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: o.name, Schema: json.RawMessage(`{"type":"object"}`)}
}
func (o odd) Call(ctx context.Context, c tool.Call) (tool.Result, error) { return o.do(ctx, c) }

// TestToolTrouble: whatever a tool or a model's call of one does, the turn goes
// on, and the model reads what is meant for it.
func TestToolTrouble(t *testing.T) {
	many := llm.Response{}
	for n := range 17 {
		many.Calls = append(many.Calls, llm.ToolCall{ID: fmt.Sprint(n), Name: "time"})
	}
	cases := map[string]struct {
		first llm.Response
		want  string // in the reply, which repeats the tool's result
		state string
	}{
		"panic":         {call("1", "panics", `{}`), "The tool failed; the log has the details.", bus.StateAnswered},
		"inner error":   {call("1", "breaks", `{}`), "The tool failed; the log has the details.", bus.StateAnswered},
		"told error":    {call("1", "refuses", `{}`), "The tool failed: not on Sundays", bus.StateAnswered},
		"unknown":       {call("1", "no such\x00tool", `{}`), "The tool failed: there is no tool of that name", bus.StateAnswered},
		"not JSON":      {call("1", "time", `{"a`), "The tool failed: its input was not JSON", bus.StateAnswered},
		"no input":      {llm.Response{Calls: []llm.ToolCall{{ID: "1", Name: "time"}}}, ":", bus.StateAnswered},
		"wrong field":   {call("1", "remember", `{"txt":"x"}`), "unknown field", bus.StateAnswered},
		"long result":   {call("1", "long", `{}`), "é… (cut)", bus.StateAnswered},
		"failing write": {call("1", "writes", `{}`), "the log has the details under", bus.StateFailed},
		"too many":      {many, "17 tools at once", bus.StateFailed},
	}
	r := newRig(t, func(_ context.Context, req llm.Request, _ func(string)) (llm.Response, error) {
		if res := last(req).Results; len(res) > 0 {
			return say(res[0].Text), nil
		}
		return cases[last(req).Text].first, nil
	})
	r.setup = func(s *agent.Service) {
		s.Use(odd{"panics", func(context.Context, tool.Call) (tool.Result, error) { panic("hunter2") }})
		s.Use(odd{"breaks", func(context.Context, tool.Call) (tool.Result, error) { return tool.Result{}, errors.New("hunter2") }})
		s.Use(odd{"refuses", func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{}, bus.Errorf(bus.CodeInvalid, "not on Sundays")
		}})
		s.Use(odd{"long", func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{Text: "x" + strings.Repeat("é", tool.MaxResultBytes)}, nil
		}})
		s.Use(odd{"writes", func(context.Context, tool.Call) (tool.Result, error) {
			return tool.Result{Text: "written", Write: func(tx *sqlite.Tx) error { return errors.New("hunter2") }}, nil
		}})
	}
	r.start()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := r.chat(name, name)
			if got.State != c.state || !strings.Contains(got.Text, c.want) || strings.Contains(got.Text, "hunter2") || strings.Contains(got.Text, "goroutine") {
				t.Errorf("reply: %.300q, want %q", got.Text, c.want)
			}
			for _, f := range facts(r, bus.ToolCalled) {
				if strings.ContainsRune(f.Tool, 0) {
					t.Errorf("an event carries a name the model made up: %q", f.Tool)
				}
			}
		})
	}
}

// TestFailures: each way to end without an answer reaches the person as text,
// with its code, and without what happened inside.
func TestFailures(t *testing.T) {
	answer := func(res llm.Response, err error) func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		return func(context.Context, llm.Request, func(string)) (llm.Response, error) { return res, err }
	}
	for name, c := range map[string]struct {
		complete func(context.Context, llm.Request, func(string)) (llm.Response, error)
		code     bus.Code
		want     string
	}{
		"inner error": {answer(llm.Response{}, errors.New("key hunter2 refused")), bus.CodeInternal, "Something went wrong on my side"},
		"coded error": {answer(llm.Response{}, bus.Errorf(bus.CodeUnavailable, "the model is overloaded").WithHint("try later")), bus.CodeUnavailable, "I could not answer: the model is overloaded. (try later)"},
		"empty":       {answer(say(" \n"), nil), bus.CodeInternal, "empty"},
		"timeout":     {gate(nil), bus.CodeTimeout, "I could not answer within 50ms."},
		"tools without end": {func(context.Context, llm.Request, func(string)) (llm.Response, error) {
			return call("1", "time", `{}`), nil
		}, bus.CodeInternal, "agent.max_rounds"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.complete)
			r.cfg.TurnTimeout = time.Minute
			if c.code == bus.CodeTimeout {
				r.cfg.TurnTimeout = 50 * time.Millisecond
			}
			r.cfg.MaxRounds = 3
			r.start()
			got := r.chat("s", "hello")
			if got.State != bus.StateFailed || !strings.Contains(got.Text, c.want) || strings.Contains(got.Text, "hunter2") {
				t.Errorf("reply: %+v", got)
			}
			if m := r.get(got.MessageID); m.State != bus.StateFailed || m.Error != c.code {
				t.Errorf("message: %+v", m)
			}
			failed := facts(r, bus.TurnFailed)
			if len(failed) != 1 || failed[0].Error != c.code || failed[0].Text != "" {
				t.Errorf("events: %+v", failed)
			}
			if n := len(r.model.asked()); name == "tools without end" && n != 4 {
				t.Errorf("the model was asked %d times, want 3 for tools and once for an answer", n)
			}
		})
	}
}

func TestHugeReplyIsCut(t *testing.T) {
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		return say(strings.Repeat("<é\xff", 1<<20)), nil
	})
	r.start()
	got := r.chat("s", strings.Repeat("<", r.cfg.MaxTextBytes))
	if !strings.HasSuffix(got.Text, "… (cut)") || len(got.Text) < 10_000 {
		t.Errorf("reply of %d bytes ends in %q", len(got.Text), got.Text[max(0, len(got.Text)-20):])
	}
	if m := r.get(got.MessageID); m.Reply != got.Text {
		t.Error("the stored reply is another")
	}
}

func TestPanicWhileStreaming(t *testing.T) {
	var n atomic.Int32
	r := newRig(t, func(_ context.Context, _ llm.Request, delta func(string)) (llm.Response, error) {
		delta("some ")
		if n.Add(1) < 3 {
			panic("hunter2")
		}
		return say("third time lucky"), nil
	})
	r.start()
	if got := r.chat("s", "hello"); got.Text != "third time lucky" {
		t.Errorf("reply: %+v", got)
	}
}
