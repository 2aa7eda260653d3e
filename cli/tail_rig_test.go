// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
)

// relayed is a house with a relay: what the daemon's stream and its bus do is in the test's hands.
type relayed struct {
	*house
	mu     sync.Mutex
	epoch  string
	stream []bus.EventRecord // of this epoch
	kept   int               // of them, oldest first, are gone
	closed bool
	page   int // events of a page; 0: as many as asked for
	asked  func(n int)
	asks   int
}

func newRelayed(t *testing.T) *relayed {
	r := &relayed{house: newHouse(t), epoch: "one", asked: func(int) {}}
	r.answerReads()
	return r
}

func (r *relayed) answerReads() {
	r.t.Helper()
	r.check(r.terminal.Handle(r.t.Context(), bus.EventsRead.Answer(r.read)))
}

// restart is a daemon that ends and comes back elsewhere.
func (r *relayed) restart(meanwhile func()) {
	r.stop()
	meanwhile()
	r.start()
	r.answerReads()
}

func (r *relayed) read(_ context.Context, q bus.EventQuery) (bus.EventPage, error) {
	r.mu.Lock()
	r.asks++
	asked, n := r.asked, r.asks
	r.mu.Unlock()
	asked(n)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return bus.EventPage{}, bus.Errorf(bus.CodeUnavailable, "the event stream cannot be read: closed").WithHint("look")
	}
	p := bus.EventPage{Events: []bus.EventRecord{}, Epoch: r.epoch}
	limit := q.Limit
	if r.page > 0 {
		limit = min(limit, r.page)
	}
	for _, e := range r.stream[r.kept:] {
		if p.First == 0 {
			p.First = e.Position
		}
		if e.Position <= q.After || q.Since != nil && e.Time.Before(*q.Since) {
			p.Last = e.Position
			continue
		}
		if len(p.Events) == limit {
			p.More = true
			return p, nil
		}
		p.Events, p.Last = append(p.Events, e), e.Position
	}
	return p, nil
}

// when sets what happens as the nth question is asked.
func (r *relayed) when(asked func(n int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = asked
}

// store puts events into the stream.
func (r *relayed) store(positions ...int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range positions {
		r.stream = append(r.stream, event(n))
	}
}

// say lets events be heard.
func (r *relayed) say(positions ...int64) {
	r.t.Helper()
	r.mu.Lock()
	epoch := r.epoch
	r.mu.Unlock()
	for _, n := range positions {
		e := event(n)
		m := &nats.Msg{Subject: bus.Prefix + e.Event, Data: e.Payload,
			Header: nats.Header{bus.HeaderSeq: {fmt.Sprint(n)}, bus.HeaderEpoch: {epoch}}}
		r.check(r.terminal.NATS().PublishMsg(m))
	}
}

// renew begins another epoch with an empty stream.
func (r *relayed) renew(epoch string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch, r.stream, r.kept = epoch, nil, 0
}

// event is the one at position n; every third is a turn.
func event(n int64) bus.EventRecord {
	e := bus.EventRecord{Position: n, Time: time.Now().UTC(), Event: "evt.tool.called", Payload: json.RawMessage(`{"bytes":1}`)}
	if n%3 == 0 {
		e.Event = "evt.turn.completed"
	}
	return e
}

// follower is a `blufio events --json` whose lines are read one by one.
type follower struct {
	t     *testing.T
	lines chan string
	ended chan error
	stop  context.CancelFunc
	notes bustest.Text // what it says on standard error
}

// followEvents runs it until the test ends; live waits until it listens.
func (r *relayed) followEvents(o eventsOptions, args ...string) *follower {
	t := r.t
	t.Helper()
	out, in := io.Pipe()
	f := &follower{t: t, lines: make(chan string, 1000), ended: make(chan error, 1)}
	a := &app{in: strings.NewReader(""), out: in, err: &f.notes, environ: r.environ(), now: time.Now, json: true, dataDir: r.dir}
	cmd := &cobra.Command{}
	cmd.Flags().Int64("seq", 0, "")
	if o.seq > 0 {
		r.check(cmd.Flags().Set("seq", fmt.Sprint(o.seq)))
	}
	tail, err := a.newTail(cmd, o, strings.Join(args, ""))
	r.check(err)
	tail.opening = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	f.stop = cancel
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			f.lines <- s.Text()
		}
	}()
	go func() {
		err := tail.run(ctx)
		in.Close()
		f.ended <- err
	}()
	return f
}

func (r *relayed) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asks
}

// listens waits until n questions were asked: each session listens before it asks.
func (r *relayed) listens(n int) {
	r.t.Helper()
	bustest.Eventually(r.t, fmt.Sprintf("%d questions", n), func() bool { return r.questions() >= n }, func() any { return r.questions() })
}

// shows expects these lines next, as "5" for the event at 5, "gap 1-4", "epoch two".
func (f *follower) shows(want ...string) {
	f.t.Helper()
	for _, w := range want {
		select {
		case text := <-f.lines:
			if got := brief(f.t, text); got != w {
				f.t.Fatalf("shows %s (%s), want %s; notes:\n%s", got, text, w, &f.notes)
			}
		case err := <-f.ended:
			f.t.Fatalf("ended (%v), want %s; notes:\n%s", err, w, &f.notes)
		case <-time.After(10 * time.Second):
			f.t.Fatalf("nothing more, want %s; notes:\n%s", w, &f.notes)
		}
	}
}

func brief(t *testing.T, text string) string {
	l := decodeAs[struct {
		Position int64
		Gap      *missing
		Epoch    string
	}](t, []byte(text))
	switch {
	case l.Gap != nil:
		return fmt.Sprintf("gap %d-%d", l.Gap.From, l.Gap.To)
	case l.Epoch != "":
		return "epoch " + l.Epoch
	}
	return fmt.Sprint(l.Position)
}

// ends interrupts the follower: it ends well and has shown nothing else.
func (f *follower) ends() {
	f.t.Helper()
	f.stop()
	if err := <-f.ended; err != nil {
		f.t.Errorf("ended with %v", err)
	}
	select {
	case text := <-f.lines:
		f.t.Errorf("shows %s too", text)
	default:
	}
}

func numbered(from, to int64) (texts []string) {
	for _, n := range positions(from, to) {
		texts = append(texts, fmt.Sprint(n))
	}
	return texts
}

func positions(from, to int64) (out []int64) {
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}
