// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// piece makes a delta of attempt 1.
func piece(round, n int, text string) bus.Delta {
	return bus.Delta{MessageID: "m1", Owner: terminalOwner, Attempt: 1, Round: round, N: n, Text: text}
}

func again(d bus.Delta) bus.Delta { d.Attempt++; return d }

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name   string
		deltas []bus.Delta
		reply  string
		want   []string
	}{
		{"nothing was said", nil, "All at once.", []string{"All at once."}},
		{"word by word", []bus.Delta{piece(0, 0, "One "), piece(0, 1, "two")}, "One two", []string{"One two"}},
		{"the end was not heard", []bus.Delta{piece(0, 0, "One "), piece(0, 1, "two")}, "One two three", []string{"One two three"}},
		{"twice and out of order", []bus.Delta{piece(0, 1, "b"), piece(0, 0, "a"), piece(0, 1, "b"), piece(0, 0, "a"), piece(0, 2, "c")},
			"abc", []string{"abc"}},
		{"a piece was lost", []bus.Delta{piece(0, 0, "a"), piece(0, 2, "c")}, "abc", []string{"abc"}},
		{"the first was lost", []bus.Delta{piece(0, 1, "b")}, "ab", []string{"ab"}},
		{"another attempt", []bus.Delta{piece(0, 0, "a"), again(piece(0, 0, "x")), piece(0, 1, "late"), again(piece(0, 1, "y"))},
			"xy", []string{"a", "(starting again)", "xy"}},
		{"another attempt before a word", []bus.Delta{again(piece(0, 0, "x"))}, "x", []string{"x"}},
		{"another round", []bus.Delta{piece(0, 0, "Let me look."), piece(1, 0, "It is"), piece(0, 1, "late"), piece(1, 1, " 4.")},
			"It is 4.", []string{"Let me look.", "(going on)", "It is 4."}},
		{"something else in the end", []bus.Delta{piece(0, 0, "Perhaps")}, "No.", []string{"Perhaps", "(the answer in the end)", "No."}},
		{"white space around it", []bus.Delta{piece(0, 0, "\n \nOne\n"), piece(0, 1, "two\n\n")}, "One\ntwo\n\nthree\n", []string{"One", "two", "", "three"}},
		{"white space it has not", []bus.Delta{piece(0, 0, "One\n")}, "One", []string{"One"}},
		{"steering", []bus.Delta{piece(0, 0, "a\x1b[2J\r"), piece(0, 1, "b")}, "a\x1b[2J\rb\x07c", []string{"a[2Jbc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGlass(t, 60, 10)
			a := &answer{pane: g.pane(ui{})}
			for _, d := range c.deltas {
				a.delta(d)
			}
			a.finish(bus.MessageRecord{State: bus.StateAnswered, Reply: c.reply})
			if err := a.pane.flush(); err != nil {
				t.Fatal(err)
			}
			g.want(t, c.want...)
			if a.pane.inLine {
				t.Error("the prompt would follow in the same line")
			}
		})
	}
}

func TestAnswerFailed(t *testing.T) {
	g := newGlass(t, 90, 10)
	a := &answer{pane: g.pane(ui{})}
	a.delta(piece(0, 0, "I was ab"))
	a.finish(bus.MessageRecord{State: bus.StateFailed, Reply: "The budget is spent.", Error: bus.CodeBudget})
	_ = a.pane.flush()
	g.want(t, "I was ab", "FAIL The budget is spent.", "hint: "+busHints[bus.CodeBudget])
}

// TestAnswerIsBounded: pieces that wait for a lost one do not heap up.
func TestAnswerIsBounded(t *testing.T) {
	a := &answer{pane: newGlass(t, 60, 10).pane(ui{})}
	for n := range 10 * aheadPieces {
		a.delta(piece(0, n+1, fmt.Sprint(n)))
	}
	if len(a.ahead) > aheadPieces {
		t.Errorf("%d pieces wait", len(a.ahead))
	}
}

// TestEarly: pieces and the reply may come before the message has its id.
func TestEarly(t *testing.T) {
	g := newGlass(t, 60, 10)
	s := newShell(&app{}, shellOptions{session: mainSession}, g.pane(ui{}))
	w := &task{message: &bus.Message{}, answer: &answer{pane: s.pane}, replied: make(chan struct{}, 1), cancel: func() {}}
	s.task = w
	for n := range 3 * maxEarly {
		s.delta(piece(0, n, "a"))
	}
	if len(w.early) != maxEarly {
		t.Errorf("%d wait", len(w.early))
	}
	w.early = nil
	other := piece(0, 0, "not for us")
	other.MessageID = "m2"
	s.delta(other)
	s.delta(piece(0, 0, "The ans"))
	for _, id := range []string{"m2", "m1", "m1"} {
		s.reply(bus.Reply{MessageID: id, Owner: terminalOwner, Session: mainSession, State: bus.StateAnswered, Text: "Another's"})
	}
	s.accepted(w, bus.Accepted{ID: "m1", Session: mainSession})
	if len(w.replied) != 1 || w.early != nil {
		t.Error("the reply is not known")
	}
	s.outcome(w, bus.MessageRecord{ID: "m1", State: bus.StateAnswered, Reply: "The answer"})
	s.elsewhere[0].known = true // as far as its question can be
	s.show()
	_ = s.pane.flush()
	g.want(t, "The answer", "(a late answer, or one to a message from elsewhere)", "| Another's", ">")
}

func TestTaskStatus(t *testing.T) {
	for _, c := range []struct {
		t    task
		down bool
		want string
	}{
		{task{what: "looking", since: noon.Add(-3 * time.Second)}, false, "…looking 3s"},
		{task{what: "looking", since: noon.Add(-time.Second / 2)}, false, ""},
		{task{what: "thinking", message: &bus.Message{}, since: noon.Add(-time.Minute)}, false, "…sending 1m"},
		{task{what: "thinking", message: &bus.Message{}, id: "m1", since: noon.Add(-61 * time.Second)}, false, "…thinking 1m 1s"},
		{task{what: "thinking", message: &bus.Message{}, since: noon}, true, "…waiting for the daemon 0s"},
	} {
		if got := c.t.status(c.down, noon); got != c.want {
			t.Errorf("%+v: %q, want %q", c.t, got, c.want)
		}
	}
}
