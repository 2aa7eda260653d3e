// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// maxCrashes is how often a message may be begun without an end before it is a
// dead letter.
const maxCrashes = 3

// maxRounds is the most bills for one message that nobody kills.
const maxRounds = 8

// books checks the database that the stopped daemon has left.
func (f *findings) books(t *testing.T, p plan) {
	t.Helper()
	store := openReadOnly(t, p)
	defer closeStore(t, store)
	f.emptied(t, store)
	f.attempts(t, store)
	f.ledger(t, store)
	f.notes(t, store)
	f.totals(t, store)
}

// emptied wants nothing on its way.
func (f *findings) emptied(t *testing.T, store *sqlite.Store) {
	t.Helper()
	for what, query := range map[string]string{
		"messages without an end":     `SELECT count(*) FROM message WHERE state NOT IN ('answered', 'failed', 'dead')`,
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
		if attempts == 0 && f.strained {
			return // the mark of its begin found no place on the disk, and no model was asked
		}
		if attempts != maxCrashes || state != bus.StateDead {
			f.problem("message %s is %s after %d attempts", id, state, attempts)
		}
	})
	if f.dead > f.kills { // last attempts are made alone, so a kill ends one at most
		f.problem("%d dead letters of %d kills: more than the kills can have made", f.dead, f.kills)
	}
}

// notes wants each note once, as a bill that is booked asked for it, in the recall room or
// on its way there.
func (f *findings) notes(t *testing.T, store *sqlite.Store) {
	t.Helper()
	type note struct{ owner, text string }
	have := map[note][]int{} // numbers of the bills that asked
	const kept = `SELECT owner, text FROM recall_entry UNION ALL
		SELECT payload ->> 'owner', payload ->> 'text' FROM fact WHERE payload ->> 'id' NOT IN (SELECT id FROM recall_call)`
	each(t, store, kept, func(row scanner) {
		var owner, text string
		row(&owner, &text)
		asked := -1
		if i := strings.LastIndex(text, ", says call "); i >= 0 {
			if _, err := fmt.Sscanf(text[i:], ", says call %d", &asked); err == nil {
				text = text[:i]
			}
		}
		n := note{owner, text}
		have[n] = append(have[n], asked)
	})
	for id, m := range f.messages {
		if m.n%kinds != remember {
			continue
		}
		n := note{m.speaker.channel() + ":" + m.speaker.owner(), m.speaker.note(m.n)}
		if got := have[n]; len(got) != 1 && (m.whole() || len(got) > 1) {
			f.problem("the note of message %s (%s) is there %d times", id, n.text, len(got))
		}
		for _, asked := range have[n] {
			f.restsOn(id, asked, "its note")
		}
		delete(have, n)
	}
	for n := range have {
		f.problem("there is a note that nobody asked for: %v", n)
	}
}

// ledger compares the ledger with the model's bills. What must hold:
//
//   - a row of the ledger is one whole bill, to the token, of a question of that
//     message's; no bill is booked twice
//   - an answered message has exactly the rounds booked that its turn took, once each
//   - the note and the reply that are kept rest on bills that are booked
//   - a bill that is not booked was cut off by a kill: a message has at most one of
//     those for each time that its turn was interrupted
//   - where a message may fail, what the answer that failed it had cost is an
//     estimate
func (f *findings) ledger(t *testing.T, store *sqlite.Store) {
	t.Helper()
	f.booked = map[int]string{}
	rounds := map[string]map[int]int{} // by message
	each(t, store, `SELECT message, input, output, amount FROM cost_ledger WHERE amount > 0`, func(row scanner) {
		var id string
		var in, out, amount int64
		row(&id, &in, &out, &amount)
		f.calls++
		n := int(in - input(0))
		m := f.messages[id]
		matches := n >= 0 && n < len(f.bills) && f.bills[n].output == out && f.bills[n].whole && f.bills[n].question == m.text && amount == costs(in, out)
		switch {
		case !matches && m.state == bus.StateFailed:
			f.estimates++
			return
		case !matches:
			f.problem("the ledger has %d and %d tokens for message %s, which is not what the model billed", in, out, id)
			return
		case f.booked[n] != "":
			f.problem("bill %d is booked twice, for messages %s and %s", n, f.booked[n], id)
		}
		f.booked[n] = id
		if rounds[id] == nil {
			rounds[id] = map[int]int{}
		}
		rounds[id][f.bills[n].round]++
	})
	for id, m := range f.messages {
		calls := 0
		for round, n := range rounds[id] {
			if calls += n; n > 1 {
				f.problem("round %d of message %s is booked %d times", round, id, n)
			}
		}
		if want := modelCalls(m.n); calls != want && (m.whole() || calls > want) {
			f.problem("message %s (%s %d) has %d model calls in the ledger, want %d", id, m.speaker.session(), m.n, calls, want)
		}
		if m.whole() && modelCalls(m.n) > 0 {
			f.restsOn(id, spokenBy(m.reply), "its reply")
		}
	}
	f.cutOff(t, store)
}

// restsOn wants bill n booked for a message.
func (f *findings) restsOn(id string, n int, what string) {
	if n < 0 || f.booked[n] != id {
		f.problem("message %s: %s rests on bill %d, which is not in the ledger", id, what, n)
	}
}

// cutOff counts the bills that are not booked.
func (f *findings) cutOff(t *testing.T, store *sqlite.Store) {
	t.Helper()
	lost := map[string]int{} // by question, which no two messages share
	for n, b := range f.bills {
		if f.booked[n] == "" {
			lost[b.question]++
			f.unbooked++
		}
	}
	each(t, store, `SELECT text, state, attempts FROM message`, func(row scanner) {
		var text, state string
		var attempts int
		row(&text, &state, &attempts)
		switch state {
		case bus.StateAnswered:
			attempts-- // the last one was not interrupted
		case bus.StateFailed:
			attempts = maxRounds // each call may have been cut off by what made it fail
		}
		if lost[text] > max(0, attempts) {
			f.problem("%d bills for %q are not booked, and its turn was interrupted %d times", lost[text], text, attempts)
		}
		delete(lost, text)
	})
	for text := range lost {
		f.problem("there are bills for a message that nobody sent: %q", text)
	}
}

// totals wants the sums that budgets rest on to be those of the ledger.
func (f *findings) totals(t *testing.T, store *sqlite.Store) {
	t.Helper()
	var rows, amount, calls, daily, day, month int64
	scan(t, store, `SELECT count(*), coalesce(sum(amount), 0) FROM cost_ledger`, &rows, &amount)
	scan(t, store, `SELECT coalesce(sum(calls), 0), coalesce(sum(amount), 0) FROM cost_day`, &calls, &daily)
	scan(t, store, `SELECT (SELECT coalesce(sum(spent), 0) FROM cost_period WHERE period = 'day'), (SELECT coalesce(sum(spent), 0) FROM cost_period WHERE period = 'month')`, &day, &month)
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
