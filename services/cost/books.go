// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema are the room's tables; the package doc says what they are for. Amounts
// are micro-dollars, times Unix milliseconds, days YYYY-MM-DD.
var Schema = sqlite.Schema{Room: "cost", Steps: []string{`
CREATE TABLE cost_ledger (
	id          TEXT PRIMARY KEY NOT NULL,
	at          INTEGER NOT NULL,
	day         TEXT NOT NULL,
	provider    TEXT NOT NULL,
	model       TEXT NOT NULL,
	purpose     TEXT NOT NULL,
	session     TEXT NOT NULL,
	message     TEXT NOT NULL,
	input       INTEGER NOT NULL,
	output      INTEGER NOT NULL,
	cache_read  INTEGER NOT NULL,
	cache_write INTEGER NOT NULL,
	amount      INTEGER NOT NULL CHECK (amount >= 0)
) STRICT;
CREATE INDEX cost_ledger_at ON cost_ledger (at);

CREATE TABLE cost_day (
	day         TEXT NOT NULL,
	model       TEXT NOT NULL,
	purpose     TEXT NOT NULL, -- its class: "tool", not "tool:weather"
	calls       INTEGER NOT NULL,
	input       INTEGER NOT NULL,
	output      INTEGER NOT NULL,
	cache_read  INTEGER NOT NULL,
	cache_write INTEGER NOT NULL,
	amount      INTEGER NOT NULL,
	PRIMARY KEY (day, model, purpose)
) STRICT, WITHOUT ROWID;

CREATE TABLE cost_period (
	period    TEXT NOT NULL,              -- "day" or "month"
	start     TEXT NOT NULL,              -- its first day
	spent     INTEGER NOT NULL DEFAULT 0,
	warned    INTEGER NOT NULL DEFAULT 0, -- the limit for which BudgetWarned was said
	exhausted INTEGER NOT NULL DEFAULT 0, -- the limit for which BudgetExhausted was said
	PRIMARY KEY (period, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE cost_reservation (
	id     TEXT PRIMARY KEY NOT NULL,
	boot   TEXT NOT NULL, -- which run of the daemon made it
	at     INTEGER NOT NULL,
	model  TEXT NOT NULL,
	amount INTEGER NOT NULL CHECK (amount >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE cost_switch (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	stopped INTEGER NOT NULL DEFAULT 0,
	reason  TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO cost_switch (id) VALUES (1);
`, `
ALTER TABLE cost_reservation ADD COLUMN purpose TEXT NOT NULL DEFAULT ''; -- its class
`}}

// books are the totals that a decision rests on, as the tables have them.
type books struct {
	day, month account
	reserved   bus.MicroUSD
	open       int64 // reservations
	stopped    bool
	reason     string // of the kill switch
}

// account is the total of one period against its budget.
type account struct {
	span
	limit     bus.MicroUSD // 0: none
	spent     bus.MicroUSD
	warned    bus.MicroUSD // the limit for which a mark was said
	exhausted bus.MicroUSD
}

const readBooks = `SELECT s.stopped, s.reason, r.amount, r.open,
	coalesce(d.spent, 0), coalesce(d.warned, 0), coalesce(d.exhausted, 0),
	coalesce(m.spent, 0), coalesce(m.warned, 0), coalesce(m.exhausted, 0)
	FROM cost_switch s
	JOIN (SELECT coalesce(sum(amount), 0) AS amount, count(*) AS open FROM cost_reservation) r
	LEFT JOIN cost_period d ON d.period = 'day' AND d.start = ?
	LEFT JOIN cost_period m ON m.period = 'month' AND m.start = ?`

// read takes the books of t's day and month from query, which is a
// transaction's or the store's QueryRow.
func (s *Service) read(t time.Time, query func(string, ...any) *sql.Row) (books, error) {
	terms := s.terms.Load()
	b := books{
		day:   account{span: dayOf(t), limit: terms.daily},
		month: account{span: monthOf(t), limit: terms.monthly},
	}
	err := query(readBooks, b.day.start, b.month.start).Scan(&b.stopped, &b.reason, &b.reserved, &b.open,
		&b.day.spent, &b.day.warned, &b.day.exhausted, &b.month.spent, &b.month.warned, &b.month.exhausted)
	if err != nil {
		return b, fmt.Errorf("read ledger totals: %w", err)
	}
	return b, nil
}

// at returns the books as they are at t: an account whose period is over
// continues as an empty one.
func (b books) at(t time.Time) books {
	if d := dayOf(t); d.start != b.day.start {
		b.day = account{span: d, limit: b.day.limit}
	}
	if m := monthOf(t); m.start != b.month.start {
		b.month = account{span: m, limit: b.month.limit}
	}
	return b
}

// usedPercent is how much of the tighter budget is spent or reserved.
func (b books) usedPercent() int {
	most := bus.MicroUSD(0)
	for _, a := range []account{b.day, b.month} {
		if a.limit > 0 {
			most = max(most, (a.spent+b.reserved)*100/a.limit)
		}
	}
	return int(most)
}

// warnPercent of a budget is where BudgetWarned is said.
const warnPercent = 80

// mark says in tx what a newly booked amount has brought about.
func (s *Service) mark(tx *sqlite.Tx, a *account, now time.Time) error {
	if a.limit == 0 {
		return nil
	}
	if a.spent*100 >= a.limit*warnPercent && a.warned < a.limit {
		a.warned = a.limit
		if err := s.say(tx, bus.BudgetWarned, *a, now); err != nil {
			return err
		}
	}
	if a.spent >= a.limit {
		return s.markExhausted(tx, a, now)
	}
	return nil
}

func (s *Service) markExhausted(tx *sqlite.Tx, a *account, now time.Time) error {
	if a.exhausted >= a.limit {
		return nil
	}
	a.exhausted = a.limit
	return s.say(tx, bus.BudgetExhausted, *a, now)
}

// say stores the account's marks and records the event, once for all of them.
func (s *Service) say(tx *sqlite.Tx, lane bus.Event[bus.BudgetFact], a account, now time.Time) error {
	_, err := tx.Exec(`INSERT INTO cost_period (period, start, warned, exhausted) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET warned = excluded.warned, exhausted = excluded.exhausted`,
		a.period, a.start, a.warned, a.exhausted)
	if err != nil {
		return fmt.Errorf("mark budget: %w", err)
	}
	return eventlog.Record(s.events, tx, lane, bus.BudgetFact{
		Time: now, Period: a.period, Start: a.start, Spent: a.spent, Limit: a.limit,
	})
}
