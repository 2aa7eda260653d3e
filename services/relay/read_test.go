// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

func positions(p bus.EventPage) (out []int64) {
	for _, e := range p.Events {
		out = append(out, e.Position)
	}
	return out
}

func TestReadPages(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(t, nil)
	r.record(t, 4)
	err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error {
		return eventlog.Record(r.log, tx, bus.SpendingChanged, bus.SpendingFact{Time: time.Now(), Stopped: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	r.record(t, 2)
	r.holds(t, 1, 2, 3, 4, 5, 6, 7)
	future, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for _, tc := range []struct {
		name string
		q    bus.EventQuery
		want []int64
		last int64
		more bool
	}{
		{"all", bus.EventQuery{}, []int64{1, 2, 3, 4, 5, 6, 7}, 7, false},
		{"behind a position", bus.EventQuery{After: 5}, []int64{6, 7}, 7, false},
		{"cut", bus.EventQuery{After: 1, Limit: 2}, []int64{2, 3}, 3, true},
		{"behind the last", bus.EventQuery{After: 7}, nil, 7, false},
		{"one kind", bus.EventQuery{Pattern: "spending.*"}, []int64{5}, 7, false},
		{"one kind, by its whole name", bus.EventQuery{Pattern: "evt.spending.changed"}, []int64{5}, 7, false},
		{"any below", bus.EventQuery{Pattern: "room.>", Limit: 3}, []int64{1, 2, 3}, 3, true},
		{"everything", bus.EventQuery{Pattern: ">", After: 6}, []int64{7}, 7, false},
		{"no such kind", bus.EventQuery{Pattern: "tool.called"}, nil, 7, false},
		{"behind what there is", bus.EventQuery{After: 70}, nil, 7, false},
		{"since the future", bus.EventQuery{Since: &future}, nil, 7, false},
		{"since the past", bus.EventQuery{Since: &past, Limit: 1}, []int64{1}, 1, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := s.read(t.Context(), tc.q)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(positions(p), tc.want) || p.Last != tc.last || p.More != tc.more || p.First != 1 || p.Epoch == "" {
				t.Errorf("got %v last %d more %v first %d, want %v last %d more %v", positions(p), p.Last, p.More, p.First, tc.want, tc.last, tc.more)
			}
		})
	}
}

func TestReadRefusals(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(t, nil)
	now := time.Now()
	for _, q := range []bus.EventQuery{{Pattern: "a b"}, {Pattern: "(.*"}, {Pattern: "ctl..x"}, {After: 1, Since: &now}, {After: -1}} {
		if _, err := s.read(t.Context(), q); bus.CodeOf(err) != bus.CodeInvalid {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// What an earlier database left in the stream has positions of its own.
func TestReadPassesOverAnotherEpoch(t *testing.T) {
	r := newRig(t)
	_, stop := r.start(t, nil)
	r.record(t, 3)
	r.holds(t, 1, 2, 3)
	stop()
	r.sql(t, `UPDATE event_state SET epoch = 'restored', relayed = 0; DELETE FROM event; DELETE FROM sqlite_sequence WHERE name = 'event'`)
	s, _ := r.start(t, nil)
	r.record(t, 2)
	r.hears(t, 1, 3)
	r.hears(t, 1, 2)
	r.holds(t, 1, 2, 3, 1, 2)
	p, err := s.read(t.Context(), bus.EventQuery{After: 1})
	if err != nil || !slices.Equal(positions(p), []int64{2}) {
		t.Errorf("got %v, %v", positions(p), err)
	}
}

// With a position the page of another epoch would have, it begins with the first
// of this one, however many of the other there are.
func TestReadBehindManyOfAnotherEpoch(t *testing.T) {
	r := newRig(t)
	_, stop := r.start(t, nil)
	r.record(t, 600)
	r.noted(t, 600)
	stop()
	r.use(roomtest.Store(t))
	r.record(t, 3)
	s, _ := r.start(t, nil)
	r.noted(t, 3)
	past := time.Now().Add(-time.Hour)
	for _, q := range []bus.EventQuery{{}, {Since: &past}} {
		p, err := s.read(t.Context(), q)
		if err != nil || !slices.Equal(positions(p), to(3)) || p.First != 1 || p.Last != 3 || p.More {
			t.Errorf("%+v: %v, first %d, last %d, more %v, %v", q, positions(p), p.First, p.Last, p.More, err)
		}
	}
	p, err := s.read(t.Context(), bus.EventQuery{After: 500})
	if err != nil || len(p.Events) > 0 || p.Last != 3 || p.Epoch != r.state(t).Epoch {
		t.Errorf("a foreign position: %+v, %v", p, err)
	}
}

// A database that was replaced and put back has its events in the stream twice.
// A page has them once, and paging ends.
func TestReadEventsStoredTwice(t *testing.T) {
	r := newRig(t)
	first := r.store
	_, stop := r.start(t, nil)
	r.record(t, 10)
	r.noted(t, 10)
	stop()
	r.use(roomtest.Store(t))
	_, stop = r.start(t, nil)
	r.record(t, 4)
	r.noted(t, 4)
	stop()
	r.use(first)
	r.record(t, 2)
	s, _ := r.start(t, nil)
	r.noted(t, 12)
	for limit := 1; limit <= 13; limit++ {
		var got []int64
		q := bus.EventQuery{Limit: limit}
		for pages := 0; ; pages++ {
			p, err := s.read(t.Context(), q)
			if err != nil || pages > 20 {
				t.Fatalf("limit %d, page %d after %d: %v", limit, pages, q.After, err)
			}
			got = append(got, positions(p)...)
			if q.After = p.Last; !p.More {
				break
			}
		}
		if !slices.Equal(got, to(12)) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

// Messages that the relay did not publish have no position and no place.
func TestReadPassesOverStrangers(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(t, nil)
	events, err := r.b.Server().Events()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		r.record(t, 1)
		r.noted(t, int64(i+1))
		for n := range 30 * i {
			answer := make(chan error, 1)
			ev := embedded.Event{Subject: bus.RoomRestarted.Spec().Subject(), ID: fmt.Sprint(i, n), Data: []byte("{}")}
			if err := events.Store(t.Context(), ev, func(_ embedded.Ack, err error) { answer <- err }); err != nil {
				t.Fatal(err)
			}
			if err := <-answer; err != nil {
				t.Fatal(err)
			}
		}
	}
	for after := range int64(6) {
		p, err := s.read(t.Context(), bus.EventQuery{After: after})
		if err != nil || !slices.Equal(positions(p), span(after+1, 5)) || p.First != 1 {
			t.Errorf("after %d: %v, first %d, %v", after, positions(p), p.First, err)
		}
	}
}

// A page is bounded by its bytes, and one that looks for a rare event by the
// messages that it looks at. Asking on from Last finds all.
func TestReadBounds(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(t, nil)
	for range 8 {
		r.writeAll(t, bus.RestartedFact{Service: strings.Repeat("x", 200<<10)})
	}
	r.noted(t, 8)
	p, err := s.read(t.Context(), bus.EventQuery{})
	if err != nil || !slices.Equal(positions(p), to(2)) || !p.More || p.Last != 2 {
		t.Errorf("large events: %v, last %d, more %v, %v", positions(p), p.Last, p.More, err)
	}
	r.writeAll(t, bus.RestartedFact{Service: strings.Repeat("x", maxAlone)})
	r.noted(t, 9)
	if p, err = s.read(t.Context(), bus.EventQuery{After: 8}); err != nil || len(p.Events) != 1 || string(p.Events[0].Payload) != "null" {
		t.Errorf("an event too large for an answer: %d, %v", len(p.Events), err)
	}
	r.record(t, maxLooked+200)
	last := int64(9 + maxLooked + 200)
	r.noted(t, last)
	began := time.Now()
	p, err = s.read(t.Context(), bus.EventQuery{After: 9, Pattern: "turn.*"})
	if err != nil || len(p.Events) > 0 || !p.More || p.Last != 9+maxLooked {
		t.Errorf("a rare event: last %d, more %v, %v", p.Last, p.More, err)
	}
	t.Logf("%d looked at in %s", maxLooked, time.Since(began))
	if p, err = s.read(t.Context(), bus.EventQuery{After: p.Last, Pattern: "turn.*"}); err != nil || p.More || p.Last != last {
		t.Errorf("on from there: last %d, more %v, %v", p.Last, p.More, err)
	}
	began = time.Now()
	if p, err = s.read(t.Context(), bus.EventQuery{After: 4000, Limit: 500}); err != nil || len(p.Events) != 500 {
		t.Errorf("%d events, %v", len(p.Events), err)
	}
	t.Logf("500 events in %s", time.Since(began))
}

// Where an event is missing, positions and the stream's numbers differ.
func TestReadOverAHole(t *testing.T) {
	r := newRig(t)
	s, _ := r.start(t, nil)
	r.record(t, 2)
	r.writeAll(t, bus.RestartedFact{Service: strings.Repeat("x", 1<<20)}) // more than the bus carries
	r.record(t, 5)
	r.holds(t, 1, 2, 4, 5, 6, 7, 8, 9)
	for after, want := range map[int64][]int64{1: {2, 4, 5, 6, 7, 8, 9}, 2: span(4, 9), 3: span(4, 9), 4: span(5, 9), 8: {9}, 9: nil} {
		p, err := s.read(t.Context(), bus.EventQuery{After: after})
		if err != nil || !slices.Equal(positions(p), want) || p.Last != 9 {
			t.Errorf("after %d: %v, last %d, %v", after, positions(p), p.Last, err)
		}
	}
}

// Without a stream a reader is told so at once, also while it is being opened.
func TestReadWithoutAStream(t *testing.T) {
	r := newRig(t)
	g, change := r.gate(true)
	g.hang = true
	s, _ := r.start(t, change)
	<-g.tried
	_, err := s.read(t.Context(), bus.EventQuery{})
	var e *bus.Error
	if !errors.As(err, &e) || e.Code != bus.CodeUnavailable || e.Hint == "" {
		t.Errorf("%v", err)
	}
	r.record(t, 3)
	r.hears(t, 1, 3)
	close(g.free)
	r.noted(t, 3)
	if p, err := s.read(t.Context(), bus.EventQuery{}); err != nil || !slices.Equal(positions(p), to(3)) {
		t.Errorf("%v, %v", positions(p), err)
	}
}

// The lane itself: an answer over the bus, as an operator gets it.
func TestReadOverTheBus(t *testing.T) {
	r := newRig(t)
	r.start(t, nil)
	r.record(t, 3)
	r.noted(t, 3)
	op := r.b.Operator(t, bus.EventsRead)
	p, err := bus.EventsRead.Ask(t.Context(), op, bus.EventQuery{After: 1, Pattern: "room.*"})
	if err != nil || !slices.Equal(positions(p), span(2, 3)) {
		t.Fatalf("%v, %v", positions(p), err)
	}
	if e := p.Events[0]; e.Event != "evt.room.restarted" || !strings.Contains(string(e.Payload), `"restarts":2`) || time.Since(e.Time) > time.Minute {
		t.Errorf("%+v", e)
	}
}
