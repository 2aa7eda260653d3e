// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

// remembers has the house tell of its sessions and their messages, in this order.
func (h *house) remembers(session string, messages ...bus.MessageRecord) {
	h.t.Helper()
	h.mu.Lock()
	for _, m := range messages {
		h.messages[m.ID] = m
	}
	h.mu.Unlock()
	h.check(h.terminal.Handle(h.t.Context(),
		bus.AgentSessions.Answer(func(context.Context, bus.SessionQuery) (bus.Sessions, error) {
			return bus.Sessions{Sessions: []bus.Session{{Name: "other", State: sessionIdle}, {Name: session, State: bus.StateRunning}}}, nil
		}),
		bus.AgentHistory.Answer(func(_ context.Context, q bus.HistoryQuery) (bus.History, error) {
			if q.Session != session {
				h.t.Errorf("the history of %q is read", q.Session)
			}
			return bus.History{Messages: messages}, nil
		})))
}

func open(id, text string) bus.MessageRecord {
	return bus.MessageRecord{ID: id, Session: "main", State: bus.StateRunning, Text: text}
}

// TestShellReopened: what the agent still answers is waited for as if it had just been
// asked, one after another.
func TestShellReopened(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.stopped = func(id string) { h.fail(id, bus.CodeCanceled, "Stopped, as you asked.") }
	h.remembers("main", bus.MessageRecord{ID: "m0", State: bus.StateAnswered, Text: "long ago"},
		open("m1", "what is\nup "+strings.Repeat("x", 60)), open("m2", "and then"))
	k := startTalk(t, h.environ("NO_COLOR=1"))
	k.see(`the agent is still answering: "what is up ` + strings.Repeat("x", 29) + `…"`)
	k.see("(and 1")
	k.press("typed ahead")
	h.delta(piece(0, 3, " middle"))
	h.delta(piece(0, 4, " and"))
	k.see("...middle and")
	h.finish("m1", "The beginning, middle and end.")
	k.see("(the whole answer)\r\nThe beginning, middle and end.\r\n")
	k.see(`the agent is still answering: "and then"`)
	k.press("\x03")
	k.see("(stopped)")
	h.mu.Lock()
	h.reply = "an answer"
	h.mu.Unlock()
	k.press("\x15hello\r")
	k.see("an answer")
	if shown := k.leave("\x04"); strings.Contains(shown, "long ago") {
		t.Errorf("%q", shown)
	}
}

// TestShellLooksBackInEachSession: the one that is gone to may be waited for, too.
func TestShellLooksBackInEachSession(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.remembers("work", open("m1", "a question"))
	k := startTalk(t, h.environ())
	k.press("/session other\r/session work\r")
	k.see(`still answering: "a question"`)
	h.delta(piece(0, 0, "From the first"))
	k.see("From the first")
	h.finish("m1", "From the first word on.")
	k.see(" word on.")
	if shown := k.leave("\x04"); strings.Contains(shown, "whole answer") || strings.Count(shown, "From the first") != 1 {
		t.Errorf("%q", shown)
	}
}

// TestShellNamesTheQuestion: a reply that nobody here waits for says what it answers.
func TestShellNamesTheQuestion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.mu.Lock()
	h.messages["m9"] = bus.MessageRecord{ID: "m9", State: bus.StateAnswered, Text: "from\nthe phone"}
	h.mu.Unlock()
	k := startTalk(t, h.environ("NO_COLOR=1"))
	h.say(func(c *bus.Conn) error {
		return bus.TerminalReply.Publish(c, bus.Reply{MessageID: "m9", Owner: terminalOwner, Session: "main", State: bus.StateAnswered, Text: "It is."})
	})
	k.see("(the answer to \"from the phone\")\r\n| It is.\r\n")
	k.leave("\x04")
}

// TestShellLeftWaiting: Ctrl-D leaves at once, unless something was typed before it.
func TestShellLeftWaiting(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	looked := h.once()
	k := startTalk(t, h.environ())
	k.press("hello\r")
	<-looked
	h.delta(piece(0, 0, "I will"))
	k.see("I will")
	if shown := k.leave("\x04"); !strings.Contains(shown, "the answer goes on without you; /history shows it") {
		t.Errorf("%q", shown)
	}

	h.reply = "the next answer"
	k = startTalk(t, h.environ())
	k.press("one\rtwo\r\x04")
	shown := k.leave("")
	if n := strings.Count(shown, "the next answer"); n != 2 {
		t.Errorf("%d answers in %q", n, shown)
	}
}
