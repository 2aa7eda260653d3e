// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"slices"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
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
		{"since the future", bus.EventQuery{Since: &future}, nil, 0, false},
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
	for _, q := range []bus.EventQuery{{Pattern: "a b"}, {Pattern: "(.*"}, {Pattern: "ctl..x"}, {After: 1, Since: &now}} {
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
