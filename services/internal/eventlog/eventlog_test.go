// SPDX-License-Identifier: MIT OR Apache-2.0

package eventlog_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

func write(t *testing.T, store *sqlite.Store, fn func(tx *sqlite.Tx) error) {
	t.Helper()
	if err := store.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// filled returns a log of n events, the first ones relayed.
func filled(t *testing.T, n int, relayed int64) (*eventlog.Log, *sqlite.Store) {
	t.Helper()
	store := roomtest.Store(t)
	log := eventlog.New(store)
	write(t, store, func(tx *sqlite.Tx) error {
		for i := range n {
			if err := eventlog.Record(log, tx, bus.RoomRestarted, bus.RestartedFact{Restarts: i + 1}); err != nil {
				return err
			}
		}
		return nil
	})
	done := make(chan error, 1)
	if err := log.MarkRelayed("stream", relayed, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return log, store
}

func state(t *testing.T, log *eventlog.Log) eventlog.State {
	t.Helper()
	st, err := log.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// A commit wakes the reader; a write that is undone does not, and gives its
// position back.
func TestRecord(t *testing.T) {
	log, store := filled(t, 1, 0)
	<-log.Wake()
	undone := errors.New("undone")
	err := store.Write(t.Context(), func(tx *sqlite.Tx) error {
		return errors.Join(eventlog.Record(log, tx, bus.RoomRestarted, bus.RestartedFact{}), undone)
	})
	if !errors.Is(err, undone) {
		t.Fatal(err)
	}
	select {
	case <-log.Wake():
		t.Error("woken by what was undone")
	default:
	}
	write(t, store, func(tx *sqlite.Tx) error {
		return eventlog.Record(log, tx, bus.RoomRestarted, bus.RestartedFact{Service: "x"})
	})
	<-log.Wake()
	rows, err := log.After(t.Context(), 1, 10)
	if err != nil || len(rows) != 1 || rows[0].Seq != 2 || rows[0].Subject != bus.RoomRestarted.Spec().Subject() || rows[0].At.IsZero() {
		t.Errorf("%+v, %v", rows, err)
	}
	if st := state(t, log); st.First != 1 || st.Last != 2 || st.Epoch == "" {
		t.Errorf("%+v", st)
	}
}

// A page of large events ends when it has enough of them, and has one at least.
func TestAfterIsBoundedInBytes(t *testing.T) {
	store := roomtest.Store(t)
	log := eventlog.New(store)
	for _, kib := range []int{300, 300, 300, 300, 300, 1500, 1500, 1, 1} {
		write(t, store, func(tx *sqlite.Tx) error {
			return eventlog.Record(log, tx, bus.RoomRestarted, bus.RestartedFact{Service: strings.Repeat("x", kib<<10)})
		})
	}
	var pages []int
	for seq := int64(0); seq < 9; {
		rows, err := log.After(t.Context(), seq, 3+len(pages))
		if err != nil || len(rows) == 0 || rows[0].Seq != seq+1 {
			t.Fatalf("behind %d: %d rows, %v", seq, len(rows), err)
		}
		seq = rows[len(rows)-1].Seq
		pages = append(pages, len(rows))
	}
	if want := []int{3, 3, 1, 2}; !slices.Equal(pages, want) { // by number; 300 + 300 + 1500; 1500; the rest
		t.Errorf("pages of %v events, want %v", pages, want)
	}
}

func TestPrune(t *testing.T) {
	tests := map[string]struct {
		events                            int
		relayed, upTo, heard, most, limit int64
		want                              eventlog.Pruned
	}{
		"an empty log":               {0, 0, 9, 100, 9, 9, eventlog.Pruned{}},
		"stored long ago":            {10, 8, 5, 100, 100, 100, eventlog.Pruned{Deleted: 5}},
		"never what is not stored":   {10, 3, 9, 100, 100, 100, eventlog.Pruned{Deleted: 3}},
		"not at once":                {10, 10, 10, 100, 100, 4, eventlog.Pruned{Deleted: 4, More: true}},
		"exactly at once":            {10, 10, 10, 100, 100, 10, eventlog.Pruned{Deleted: 10}},
		"over the bound":             {10, 0, 0, 100, 4, 100, eventlog.Pruned{Deleted: 6, Unrelayed: 6}},
		"over the bound, in part":    {10, 2, 0, 100, 4, 100, eventlog.Pruned{Deleted: 6, Unrelayed: 4}},
		"over the bound, stored":     {10, 10, 0, 100, 4, 100, eventlog.Pruned{Deleted: 6}},
		"over the bound, bit by bit": {10, 0, 0, 100, 4, 5, eventlog.Pruned{Deleted: 5, Unrelayed: 5, More: true}},
		"never what is not heard":    {10, 0, 0, 3, 4, 100, eventlog.Pruned{Deleted: 3, Unrelayed: 3}},
		"within the bound":           {10, 0, 0, 100, 10, 100, eventlog.Pruned{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			log, _ := filled(t, tt.events, tt.relayed)
			got, err := log.Prune(t.Context(), tt.upTo, tt.heard, tt.most, tt.limit)
			if err != nil || got != tt.want {
				t.Errorf("%+v, %v, want %+v", got, err, tt.want)
			}
			rows, err := log.After(t.Context(), 0, 100)
			if err != nil || int64(len(rows)) != int64(tt.events)-got.Deleted || len(rows) > 0 && rows[0].Seq != got.Deleted+1 {
				t.Errorf("%d rows are left, %v", len(rows), err)
			}
			if st := state(t, log); st.Last != int64(tt.events) {
				t.Errorf("positions would be given out again: %+v", st)
			}
		})
	}
}

// Only a gap at the old end of the log moves Lost.
func TestReportGap(t *testing.T) {
	log, store := filled(t, 10, 0)
	write(t, store, func(tx *sqlite.Tx) error { _, err := tx.Exec(`DELETE FROM event WHERE seq <= 4`); return err })
	for _, tt := range []struct{ from, to, lost int64 }{{7, 7, 0}, {1, 4, 4}, {2, 3, 4}} {
		if err := log.ReportGap(t.Context(), tt.from, tt.to, "why"); err != nil {
			t.Fatal(err)
		}
		if st := state(t, log); st.Lost != tt.lost {
			t.Errorf("after %d to %d: %+v", tt.from, tt.to, st)
		}
	}
}

func TestGaveAndRenew(t *testing.T) {
	log, store := filled(t, 3, 0)
	rows, err := log.After(t.Context(), 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	write(t, store, func(tx *sqlite.Tx) error { _, err := tx.Exec(`DELETE FROM event WHERE seq = 1`); return err })
	for _, tt := range []struct {
		seq  int64
		row  int
		want bool
	}{{2, 1, true}, {2, 2, false}, {4, 2, false}, {1, 2, true}} {
		got, err := log.Gave(t.Context(), tt.seq, rows[tt.row].Subject, rows[tt.row].Payload)
		if err != nil || got != tt.want {
			t.Errorf("position %d, event %d: %v, %v", tt.seq, tt.row+1, got, err)
		}
	}
	before := state(t, log)
	if err := log.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := state(t, log); after.Epoch == before.Epoch || after.Last != before.Last {
		t.Errorf("%+v, then %+v", before, after)
	}
}

// A restored database goes on under another epoch, without a gap before what it has.
func TestRestart(t *testing.T) {
	for _, heard := range []bool{false, true} {
		log, store := filled(t, 5, 3)
		write(t, store, func(tx *sqlite.Tx) error {
			if _, err := tx.Exec(`DELETE FROM event WHERE seq <= 2`); err != nil {
				return err
			}
			_, err := tx.Exec(`UPDATE event_state SET stream = 'old'`)
			return err
		})
		before, err := log.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := eventlog.Restart(t.Context(), store, heard); err != nil {
			t.Fatal(err)
		}
		got, err := log.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := eventlog.State{Epoch: got.Epoch, Relayed: 3, Lost: 2, First: 3, Last: 5}
		if heard {
			want.Relayed = 5
		}
		if got != want || got.Epoch == before.Epoch || len(got.Epoch) != 16 {
			t.Errorf("heard %v: %+v, before %+v", heard, got, before)
		}
	}
}
