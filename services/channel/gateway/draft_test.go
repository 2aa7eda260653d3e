// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

func piece(attempt, round, n int, text string) bus.Delta {
	return bus.Delta{Attempt: attempt, Round: round, N: n, Text: text}
}

func TestDraft(t *testing.T) {
	take := bus.Delta{N: -1} // the client takes what there is
	tests := []struct {
		name   string
		pieces []bus.Delta
		reply  string
		want   string // all that is sent
		fails  bool
	}{
		{name: "nothing", reply: "Hello", want: "Hello"},
		{name: "whole", pieces: []bus.Delta{piece(1, 0, 0, "Hel"), take, piece(1, 0, 1, "lo"), take}, reply: "Hello", want: "Hello"},
		{name: "not taken", pieces: []bus.Delta{piece(1, 0, 0, "Hel"), piece(1, 0, 1, "lo")}, reply: "Hello", want: "Hello"},
		{name: "a part", pieces: []bus.Delta{piece(1, 0, 0, "Hel"), take}, reply: "Hello", want: "Hello"},
		{name: "a part taken, a part not", pieces: []bus.Delta{piece(1, 0, 0, "He"), take, piece(1, 0, 1, "l")}, reply: "Hello", want: "Hello"},
		{name: "a piece lost", pieces: []bus.Delta{piece(1, 0, 0, "He"), take, piece(1, 0, 2, "o"), take}, reply: "Hello", want: "Hello"},
		{name: "the first lost", pieces: []bus.Delta{piece(1, 0, 1, "lo"), take}, reply: "Hello", want: "Hello"},
		{name: "a piece twice", pieces: []bus.Delta{piece(1, 0, 0, "He"), piece(1, 0, 0, "He"), take, piece(1, 0, 1, "llo")}, reply: "Hello", want: "Hello"},
		{name: "another reply", pieces: []bus.Delta{piece(1, 0, 0, "Hallo"), take}, reply: "Hello", want: "Hallo", fails: true},
		{name: "another reply, not taken", pieces: []bus.Delta{piece(1, 0, 0, "Hallo")}, reply: "Hello", want: "Hello"},
		{name: "a shorter reply", pieces: []bus.Delta{piece(1, 0, 0, "Hello"), take}, reply: "Hell", want: "Hello", fails: true},
		{name: "tools, with words before", pieces: []bus.Delta{piece(1, 0, 0, "Let me look."), take, piece(1, 1, 0, "It is"), take}, reply: "It is late", want: "Let me look.\n\nIt is late"},
		{name: "tools, words before not taken", pieces: []bus.Delta{piece(1, 0, 0, "Let me look."), piece(1, 1, 0, "It is"), take}, reply: "It is late", want: "Let me look.\n\nIt is late"},
		{name: "tools twice", pieces: []bus.Delta{piece(1, 0, 0, "One."), take, piece(1, 1, 0, "Two."), piece(1, 2, 0, "Th"), take}, reply: "Three", want: "One.\n\nTwo.\n\nThree"},
		{name: "tools, words before half lost", pieces: []bus.Delta{piece(1, 0, 0, "Let"), take, piece(1, 0, 2, "look."), piece(1, 1, 0, "It is"), take}, reply: "It is late", want: "Let", fails: true},
		{name: "tools, words before half lost and not taken", pieces: []bus.Delta{piece(1, 0, 0, "Let"), piece(1, 0, 2, "look."), piece(1, 1, 0, "It is"), take}, reply: "It is late", want: "It is late"},
		{name: "tools, then a round of which all is lost", pieces: []bus.Delta{piece(1, 0, 0, "One."), take, piece(1, 1, 1, "x"), take, piece(1, 2, 0, "T"), take}, reply: "Two", want: "One.\n\nTwo"},
		{name: "a round late", pieces: []bus.Delta{piece(1, 1, 0, "It is"), take, piece(1, 0, 0, "Let me look.")}, reply: "It is late", want: "It is late"},
		{name: "begun anew, the same words", pieces: []bus.Delta{piece(1, 0, 0, "Hel"), take, piece(2, 0, 0, "Hel"), take}, reply: "Hello", want: "Hello"},
		{name: "begun anew, other words", pieces: []bus.Delta{piece(1, 0, 0, "Hel"), take, piece(2, 0, 0, "Good"), take}, reply: "Good day", want: "Hel", fails: true},
		{name: "begun anew, nothing taken", pieces: []bus.Delta{piece(1, 0, 0, "Hel"), piece(2, 0, 0, "Good"), take}, reply: "Good day", want: "Good day"},
		{name: "begun anew behind tools, nothing taken", pieces: []bus.Delta{piece(1, 0, 0, "Hm."), piece(1, 1, 0, "Hel"), piece(2, 1, 0, "Good"), take}, reply: "Good day", want: "Good day"},
		{name: "begun anew behind tools", pieces: []bus.Delta{piece(1, 0, 0, "Hm."), take, piece(1, 1, 0, "Hel"), take, piece(2, 1, 0, "Good"), take}, reply: "Good day", want: "Hm.\n\nHel", fails: true},
		{name: "more than waits", pieces: []bus.Delta{piece(1, 0, 0, "a"), piece(1, 0, 1, strings.Repeat("b", maxUnsent)), take}, reply: "a" + strings.Repeat("b", maxUnsent), want: "a" + strings.Repeat("b", maxUnsent)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, sent := newDraft(), ""
			for _, p := range tt.pieces {
				if p == take {
					sent += d.take()
				} else {
					d.hear(p)
				}
			}
			rest, ok := d.finish(tt.reply)
			if sent += rest; sent != tt.want || ok == tt.fails {
				t.Errorf("sent %q (%v), want %q", sent, ok, tt.want)
			}
		})
	}
}

// Whatever comes in whatever order: what is sent of a turn without tools is the
// reply or the stream fails.
func FuzzDraft(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, "Hello")
	f.Add([]byte{0, 4, 1, 5, 9}, "Hello")
	f.Fuzz(func(t *testing.T, steps []byte, reply string) {
		d, sent := newDraft(), ""
		for _, s := range steps {
			if s%4 == 3 {
				sent += d.take()
				continue
			}
			n := int(s/4) % 8
			text := "?"
			if n < len(reply) {
				text = reply[n : n+1]
			}
			d.hear(piece(1+int(s%4), 0, n, text))
		}
		rest, ok := d.finish(reply)
		if sent += rest; ok && sent != reply {
			t.Fatalf("%v: sent %q as %q", steps, sent, reply)
		}
	})
}

// Of what a slow client does not take, only so much is kept.
func TestDraftIsBounded(t *testing.T) {
	d := newDraft()
	d.hear(piece(1, 0, 0, strings.Repeat("a", maxUnsent)))
	d.hear(piece(1, 0, 1, "b"))
	d.hear(piece(1, 0, 2, "c"))
	if got := d.take(); len(got) != maxUnsent {
		t.Errorf("%d bytes wait", len(got))
	}
}

// Of what is said before the agent has told the id, only so much is kept.
func TestEarlyIsBounded(t *testing.T) {
	ws, got := newWaiters(1), 0
	w, _ := ws.reserve("me", func(bus.Delta) { got++ })
	for n := range 2 * maxEarly {
		ws.partial(bus.Delta{MessageID: "m1", Owner: "me", N: n})
	}
	if ws.name(w, "m1"); got != maxEarly {
		t.Errorf("%d pieces were kept", got)
	}
	ws.partial(bus.Delta{MessageID: "m1", Owner: "me"})
	if got != maxEarly+1 {
		t.Error("it does not go on")
	}
}
