// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// maxCrashes is how often a message may be begun without an end before it is a
// dead letter.
const maxCrashes = 3

// books checks the database that the stopped daemon has left.
func (f *findings) books(t *testing.T, p plan) {
	t.Helper()
	store := openReadOnly(t, p)
	defer closeStore(t, store)
	f.emptied(t, store)
	f.attempts(t, store)
	f.notes(t, store)
	f.ledger(t, store)
	f.totals(t, store)
}

// emptied wants nothing on its way.
func (f *findings) emptied(t *testing.T, store *sqlite.Store) {
	t.Helper()
	for what, query := range map[string]string{
		"messages without an end":     `SELECT count(*) FROM message WHERE state NOT IN ('answered', 'dead')`,
		"replies in the outbox":       `SELECT count(*) FROM outbox`,
		"calls not told to the books": `SELECT count(*) FROM settlement`,
		"steps of finished turns":     `SELECT count(*) FROM step`,
		"reservations":                `SELECT count(*) FROM cost_reservation`,
	} {
		var n int
		if scan(t, store, query, &n); n != 0 {
			f.problem("%d %s are left", n, what)
		}
	}
	var accepted, messages, interrupted int64
	scan(t, store, `SELECT (SELECT count(*) FROM accepted), (SELECT count(*) FROM message), (SELECT interrupted FROM agent_state)`,
		&accepted, &messages, &interrupted)
	if accepted != messages {
		f.problem("%d source ids are remembered for %d messages", accepted, messages)
	}
	if interrupted != f.interrupted {
		f.problem("the database counts %d interrupted turns, the status %d", interrupted, f.interrupted)
	}
}

// attempts allows a dead letter only after three crashes on it; the event stream
// tells of each of the three.
func (f *findings) attempts(t *testing.T, store *sqlite.Store) {
	t.Helper()
	each(t, store, `SELECT id, state, attempts FROM message WHERE attempts NOT BETWEEN 1 AND 3 OR state = 'dead'`, func(row scanner) {
		var id, state string
		var attempts int
		row(&id, &state, &attempts)
		if attempts != maxCrashes || state != bus.StateDead {
			f.problem("message %s is %s after %d attempts", id, state, attempts)
		}
	})
	if f.dead > speakers*f.kills/maxCrashes {
		f.problem("%d dead letters of %d kills: more than the kills can have made", f.dead, f.kills)
	}
}

// notes wants each note once.
func (f *findings) notes(t *testing.T, store *sqlite.Store) {
	t.Helper()
	type note struct{ owner, text string }
	have := map[note]int{}
	each(t, store, `SELECT owner, text FROM note`, func(row scanner) {
		var n note
		row(&n.owner, &n.text)
		have[n]++
	})
	for id, m := range f.messages {
		if m.n%kinds != remember {
			continue
		}
		n := note{m.speaker.owner(), m.speaker.note(m.n)}
		if got := have[n]; got != 1 && (m.state != bus.StateDead || got > 1) {
			f.problem("the note of message %s (%s) is there %d times", id, n.text, got)
		}
		delete(have, n)
	}
	for n := range have {
		f.problem("there is a note that nobody asked for: %v", n)
	}
}

// ledger wants each model call of an answer booked once.
func (f *findings) ledger(t *testing.T, store *sqlite.Store) {
	t.Helper()
	rounds := map[string]map[string]int{} // by message
	each(t, store, `SELECT id, message FROM cost_ledger WHERE amount > 0`, func(row scanner) {
		var id, message string
		row(&id, &message)
		if rounds[message] == nil {
			rounds[message] = map[string]int{}
		}
		rounds[message][id[strings.LastIndexByte(id, '/')+1:]]++ // the id is message/attempt/round
	})
	for id, m := range f.messages {
		calls := 0
		for round, n := range rounds[id] {
			if calls += n; n > 1 {
				f.problem("round %s of message %s is booked %d times", round, id, n)
			}
		}
		if want := modelCalls(m.n); calls != want && (m.state != bus.StateDead || calls > want) {
			f.problem("message %s (%s %d) has %d model calls in the ledger, want %d", id, m.speaker.session(), m.n, calls, want)
		}
		delete(rounds, id)
	}
	for id := range rounds {
		f.problem("the ledger has calls for %s, a message that nobody sent", id)
	}
}

// totals wants the sums that budgets rest on to be those of the ledger.
func (f *findings) totals(t *testing.T, store *sqlite.Store) {
	t.Helper()
	var rows, amount, calls, daily, day, month int64
	scan(t, store, `SELECT count(*), sum(amount) FROM cost_ledger`, &rows, &amount)
	scan(t, store, `SELECT sum(calls), sum(amount) FROM cost_day`, &calls, &daily)
	scan(t, store, `SELECT (SELECT sum(spent) FROM cost_period WHERE period = 'day'), (SELECT sum(spent) FROM cost_period WHERE period = 'month')`, &day, &month)
	if calls != rows || daily != amount || day != amount || month != amount {
		f.problem("the ledger has %d calls for %d, the days %d for %d, the periods %d and %d", rows, amount, calls, daily, day, month)
	}
}

// scanner reads the columns of a row.
type scanner func(into ...any)

// each reads all rows.
func each(t *testing.T, store *sqlite.Store, query string, fn func(scanner)) {
	t.Helper()
	rows, err := store.Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		fn(func(into ...any) {
			if err := rows.Scan(into...); err != nil {
				t.Fatalf("%s: %v", query, err)
			}
		})
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
