// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

// Without a past only what is said from now on is shown, also what the stream
// has stored by the time it is asked.
func TestTailLiveOnly(t *testing.T) {
	r := newRelayed(t)
	r.store(positions(1, 8)...)
	r.asked = func(n int) {
		if n == 1 { // it listens before it asks
			r.store(9)
			r.say(9)
		}
	}
	f := r.followEvents(eventsOptions{})
	f.shows("9")
	r.store(10, 11)
	r.say(10, 11)
	f.shows("10", "11")
	f.ends()
}

// What is said during the replay is neither lost nor shown twice.
func TestTailSeam(t *testing.T) {
	r := newRelayed(t)
	r.page = 3
	r.store(positions(1, 10)...)
	r.asked = func(n int) { // live and stored while pages are read
		if n <= 6 {
			next := int64(10 + n)
			r.store(next)
			r.say(next)
		}
	}
	f := r.followEvents(eventsOptions{seq: 4})
	f.shows(numbered(4, 14)...)
	r.when(func(int) {})
	r.store(15)
	r.say(15, 15)
	f.shows("15")
	f.ends()
}

func TestTailSince(t *testing.T) {
	r := newRelayed(t)
	r.store(positions(1, 9)...)
	for i := range 5 {
		r.stream[i].Time = time.Now().Add(-2 * time.Hour)
	}
	f := r.followEvents(eventsOptions{since: "1h"})
	f.shows(numbered(6, 9)...)
	f.ends()
}

// Where the stream begins after the time that is asked for, what was before is said to
// be missing; where it begins earlier, nothing is.
func TestTailSinceBeforeTheStream(t *testing.T) {
	r := newRelayed(t)
	r.store(positions(1, 9)...)
	r.kept = 5
	f := r.followEvents(eventsOptions{since: "1h"})
	f.shows("gap 1-5", "6", "7", "8", "9")
	f.ends()
	r.mu.Lock()
	r.stream[5].Time = time.Now().Add(-2 * time.Hour)
	r.mu.Unlock()
	f = r.followEvents(eventsOptions{since: "1h"})
	f.shows("7", "8", "9")
	f.ends()
}

// What was not heard is read, once the stream has stored it.
func TestTailFillsHoles(t *testing.T) {
	r := newRelayed(t)
	r.store(1, 2, 3)
	f := r.followEvents(eventsOptions{seq: 1})
	f.shows("1", "2", "3")
	r.when(func(n int) {
		if n == 3 { // the stream is late
			r.store(5, 6)
		}
	})
	r.store(4)
	r.say(6)
	f.shows("4", "5", "6")
	f.ends()
}

func TestTailTellsGaps(t *testing.T) {
	r := newRelayed(t)
	r.store(positions(1, 9)...)
	r.kept = 5
	f := r.followEvents(eventsOptions{seq: 2})
	f.shows("gap 2-5", "6", "7", "8", "9")
	r.say(12)
	f.shows("gap 10-11", "12")
	r.store(positions(10, 13)...) // too late
	r.say(13)
	f.shows("13")
	f.ends()
	if s := f.notes.String(); !strings.Contains(s, "gap: events 2 to 5 are missing: not in the stream\n") || !strings.Contains(s, "events 10 to 11 are missing: not heard") {
		t.Errorf("notes %q", s)
	}
}

// A gap that the daemon tells of is told whatever is watched, and once.
func TestTailTellsTheDaemonsGaps(t *testing.T) {
	r := newRelayed(t)
	f := r.followEvents(eventsOptions{}, "turn.*")
	r.listens(1)
	gap := func(position, from, to int64) {
		m := &nats.Msg{Subject: bus.StreamGap.Spec().Subject(), Data: fmt.Appendf(nil, `{"from":%d,"to":%d,"why":"lost"}`, from, to),
			Header: nats.Header{bus.HeaderSeq: {fmt.Sprint(position)}, bus.HeaderEpoch: {"one"}}}
		r.check(r.terminal.NATS().PublishMsg(m))
	}
	r.say(97, 98)
	gap(99, 1, 80)
	gap(100, 40, 80)
	r.say(101, 102)
	f.shows("gap 1-80", "102")
	f.ends()
}

// The daemon restarts on another port: what was missed is shown.
func TestTailAcrossARestart(t *testing.T) {
	for name, o := range map[string]eventsOptions{"live": {}, "replayed": {seq: 1}} {
		t.Run(name, func(t *testing.T) {
			r := newRelayed(t)
			r.store(1, 2)
			f := r.followEvents(o)
			if o.seq > 0 {
				f.shows("1", "2")
			}
			r.listens(1)
			r.restart(func() { r.store(3, 4) })
			f.shows("3", "4")
			r.store(5)
			r.say(5)
			f.shows("5")
			r.restart(func() {})
			r.say(5) // heard again after a crash
			r.store(6)
			r.say(6)
			f.shows("6")
			f.ends()
			if s := f.notes.String(); strings.Count(s, "connection lost") != 2 || strings.Count(s, "connected again") != 2 {
				t.Errorf("notes %q", s)
			}
		})
	}
}

// Positions of another database begin anew: after a restart, and at once.
func TestTailAnotherEpoch(t *testing.T) {
	r := newRelayed(t)
	r.store(positions(1, 9)...)
	f := r.followEvents(eventsOptions{seq: 8})
	f.shows("8", "9")
	r.restart(func() {
		r.renew("two")
		r.store(1, 2, 3)
		r.stream[0].Time = time.Now().Add(-time.Hour) // was not missed
	})
	f.shows("epoch two", "2", "3")
	r.renew("three") // restored: its positions go on from an earlier one
	r.store(2, 3)
	r.say(3)
	f.shows("epoch three", "2", "3")
	r.renew("four") // the stream has nothing of it yet
	r.say(7)
	f.shows("epoch four", "7")
	r.say(8)
	f.shows("8")
	f.ends()
}

// A stream that stays closed is in the way of the past only.
func TestTailWithoutAStream(t *testing.T) {
	r := newRelayed(t)
	r.closed = true
	f := r.followEvents(eventsOptions{seq: 1})
	if err := <-f.ended; explain(err).code != exitFailed || explain(err).hint == "" {
		t.Errorf("the past ended with %v", err)
	}
	asks := r.questions()
	f = r.followEvents(eventsOptions{})
	r.listens(asks + 1)
	r.say(7, 8)
	f.shows("7", "8")
	r.restart(func() {})
	r.listens(asks + 2)
	r.say(9)
	f.shows("9")
	r.say(12)
	f.shows("gap 10-11", "12")
	f.ends()
}

// When nothing was heard before the connection was lost, it is known only since
// when something may have been missed.
func TestTailMissesNothingWithoutAPosition(t *testing.T) {
	r := newRelayed(t)
	r.store(1, 2, 3)
	for i := range r.stream {
		r.stream[i].Time = time.Now().Add(-time.Hour)
	}
	r.closed = true
	f := r.followEvents(eventsOptions{})
	r.listens(1)
	r.restart(func() {
		r.store(4, 5)
		r.mu.Lock()
		r.closed = false
		r.mu.Unlock()
	})
	f.shows("4", "5")
	r.say(6)
	f.shows("6")
	f.ends()
}

// A stream that is just being opened is waited for.
func TestTailWaitsForTheStream(t *testing.T) {
	r := newRelayed(t)
	r.store(1, 2)
	r.closed = true
	r.asked = func(int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = r.asks < 3
	}
	_, stdout, stderr := r.blufio("events", "--no-follow", "--json")
	if strings.Count(stdout, "position") != 2 || stderr != "" {
		t.Errorf("%q, %q", stdout, stderr)
	}
}

func TestEventsText(t *testing.T) {
	r := newRelayed(t)
	r.store(positions(1, 9)...)
	r.kept = 3
	for name, tc := range map[string]struct {
		args   []string
		code   int
		stdout int // lines
		stderr string
	}{
		"all that is kept":     {[]string{}, 0, 6, ""},
		"from a position":      {[]string{"--seq", "3"}, 0, 6, "gap: event 3 is missing: not in the stream\n"},
		"filtered":             {[]string{"turn.*"}, 0, 2, ""},
		"ahead":                {[]string{"--seq", "12"}, 1, 0, "blufio: position 12 is not there yet: the newest is 9\nhint: without --no-follow it is waited for\n"},
		"with the area's name": {[]string{"evt.turn.completed"}, 0, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := r.blufio(append([]string{"events", "--no-follow"}, tc.args...)...)
			if code != tc.code || strings.Count(stdout, "\n") != tc.stdout || stderr != tc.stderr || strings.Contains(stdout, "\x1b") {
				t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}

// On a terminal there is colour, and Ctrl-C is a good end.
func TestEventsOnATerminal(t *testing.T) {
	r := newRelayed(t)
	r.store(1, 2, 3)
	main, tty := openTerminal(t)
	defer main.Close()
	s := watchScreen(main)
	code := make(chan int)
	go func() { code <- Main([]string{"events", "--seq", "1"}, tty, tty, tty, r.environ("TERM=xterm")) }()
	s.wait(t, "\x1b[2m#3\x1b[")
	s.wait(t, "\x1b[32mturn.completed")
	self, err := os.FindProcess(os.Getpid())
	r.check(err)
	r.check(self.Signal(os.Interrupt))
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
}

// Who reads slowly gets the end of a burst too, when nothing more happens.
func TestTailOfASlowReader(t *testing.T) {
	r := newRelayed(t)
	r.store(1)
	f := r.followEvents(eventsOptions{seq: 1})
	f.shows("1")
	const n = 2*heardEvents + 1000 // what waits in the test's own channel included
	r.store(positions(2, n)...)
	r.say(positions(2, n)...) // nobody reads
	r.check(r.terminal.NATS().Flush())
	f.shows(numbered(2, n)...)
	f.ends()
}

// Ctrl-C while it looks for what is not stored yet tells of no gap.
func TestTailInterruptedInAHole(t *testing.T) {
	r := newRelayed(t)
	r.store(1)
	f := r.followEvents(eventsOptions{seq: 1})
	f.shows("1")
	asks := r.questions()
	r.say(5)
	r.listens(asks + 1)
	f.ends()
}
