// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	settleLimit = 2 * time.Minute // for what the kills left over
	maxProblems = 40              // described; more are only counted
)

// findings are what the checks found out.
type findings struct {
	kills        int
	speakers     int
	acknowledged int
	answered     int
	lost         int // acknowledged, and not in the session's history
	failed       int // answered with the reason why there is no answer, where that is allowed
	mayFail      bool
	strained     bool // the log may have errors
	dead         int  // given up after three crashes, as the manual says
	interrupted  int64
	calls        int // in the ledger
	unbooked     int // answers of the model that a kill cut off from any commit
	twice        int // messages that Telegram was sent twice
	estimates    int // of answers that broke off
	settleLimit  time.Duration
	bills        []bill
	faults       []string
	booked       map[int]string  // message of the ledger's row, by the bill's number
	messages     map[string]told // by id: what the daemon told of each message
	count        int             // of problems
	problems     []string
}

// told is one message as the daemon's history has it.
type told struct {
	speaker speaker
	n       int
	state   string
	text    string
	reply   string
}

// whole reports whether all that its turn does has to be there.
func (m told) whole() bool { return m.state == bus.StateAnswered }

func (f *findings) problem(format string, args ...any) {
	if f.count++; f.count <= maxProblems {
		f.problems = append(f.problems, fmt.Sprintf(format, args...))
	}
}

// cut is what the database holds of interruptions when the daemon is dead:
// turns that are under way, and those counted before.
type cut struct{ running, counted int64 }

func readCut(t *testing.T, p plan) cut {
	t.Helper()
	var c cut
	store := openReadOnly(t, p)
	defer closeStore(t, store)
	scan(t, store, `SELECT (SELECT count(*) FROM message WHERE state = 'running'), interrupted FROM agent_state`, &c.running, &c.counted)
	return c
}

// status compares the count of interruptions with what the kills left. A daemon
// that was killed before it came to counting has not changed the database.
func (f *findings) status(t *testing.T, p plan, cuts []cut) {
	t.Helper()
	var want int64
	for i, c := range cuts {
		if c.counted != want && (i == 0 || c.counted != want-cuts[i-1].running || c.running != cuts[i-1].running) {
			f.problem("after kill %d the database counts %d interrupted turns, want %d", i+1, c.counted, want)
		}
		want = c.counted + c.running
	}
	st, err := ask(t.Context(), p, bus.StatusGet, bus.StatusQuery{})
	switch {
	case err != nil:
		f.problem("ask for the status: %v", err)
		return
	case st.Sessions == nil || st.Queues == nil:
		f.problem("the status lacks sessions or queues")
		return
	}
	f.interrupted = st.Sessions.Interrupted
	if f.interrupted != want {
		f.problem("the status tells of %d interrupted turns, want %d", f.interrupted, want)
	}
	if want == 0 {
		f.problem("no kill cut a turn off: this run has proved nothing")
	}
	if q := *st.Queues; q.Inbox != 0 || q.Outbox != 0 || q.Dead != int64(f.dead) {
		f.problem("the queues are %+v with %d dead letters, want them empty", q, f.dead)
	}
	if st.Sessions.Active != 0 || st.Sessions.Total != everyone {
		f.problem("the sessions are %+v, want 0 active of %d", *st.Sessions, everyone)
	}
}

// settle waits until nothing is left to do, and returns the position of the
// last event that the stream must hold.
func (p plan) settle(t *testing.T, f *findings) int64 {
	t.Helper()
	store := openReadOnly(t, p)
	defer closeStore(t, store)
	ctx, cancel := context.WithTimeout(t.Context(), f.settleLimit)
	defer cancel()
	var last int64
	for {
		var inbox, outbox, unsettled, relayed int64
		scan(t, store, `SELECT (SELECT count(*) FROM message WHERE state IN ('queued', 'running')),
			(SELECT count(*) FROM outbox), (SELECT count(*) FROM settlement),
			(SELECT relayed FROM event_state)`, &inbox, &outbox, &unsettled, &relayed)
		if inbox+outbox+unsettled == 0 {
			if last == 0 {
				scan(t, store, `SELECT coalesce(max(seq), 0) FROM event`, &last)
			}
			if relayed >= last {
				return last
			}
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			f.problem("after %s there are still %d messages, %d replies, %d settlements; %d of %d events are relayed",
				f.settleLimit, inbox, outbox, unsettled, relayed, last)
			return last
		}
	}
}

func openReadOnly(t *testing.T, p plan) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: p.database(), ReadOnly: true, Readers: 1, Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatalf("open database: %v\n%s", err, p.logTail())
	}
	return store
}

func closeStore(t *testing.T, store *sqlite.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// scan reads one row.
func scan(t *testing.T, store *sqlite.Store, query string, into ...any) {
	t.Helper()
	if err := store.QueryRow(t.Context(), query).Scan(into...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
