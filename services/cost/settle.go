// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// settle answers cost.settle.
func (s *Service) settle(ctx context.Context, req bus.Settle) (bus.Settled, error) {
	u := req.Usage
	if err := checkCall(req.ModelCall, u.Input, u.Output, u.CacheRead, u.CacheWrite); err != nil {
		return bus.Settled{}, err
	}
	var booked bus.Settled
	err := s.write(ctx, func(tx *sqlite.Tx) (err error) {
		booked, err = s.settleIn(tx, req)
		return err
	})
	if err != nil {
		if bus.CodeOf(err) == bus.CodePriceUnknown {
			s.noteUnpriced(req.Model)
		}
		return bus.Settled{}, err
	}
	return booked, nil
}

// settleIn books a call once. What was booked before is answered first, whatever
// has become of its price.
func (s *Service) settleIn(tx *sqlite.Tx, req bus.Settle) (bus.Settled, error) {
	var before bus.MicroUSD
	err := tx.QueryRow(`SELECT amount FROM cost_ledger WHERE id = ?`, req.ID).Scan(&before)
	if err == nil {
		return bus.Settled{Amount: before, Duplicate: true}, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return bus.Settled{}, fmt.Errorf("find call: %w", err)
	}
	price, err := s.terms.Load().rates.of(req.Model)
	if err != nil {
		return bus.Settled{}, err
	}
	now := s.clock()
	fact := bus.CostFact{Time: req.Time.In(s.location), ModelCall: req.ModelCall, Usage: req.Usage, Amount: price.cost(req.Usage)}
	if req.Time.IsZero() || fact.Time.After(now) {
		fact.Time = now // a future day would hide it from today's budget
	}
	if err := book(tx, fact); err != nil {
		return bus.Settled{}, err
	}
	if err := eventlog.Record(s.events, tx, bus.CostRecorded, fact); err != nil {
		return bus.Settled{}, err
	}
	b, err := s.markBooked(tx, fact.Time, now)
	if err != nil {
		return bus.Settled{}, err
	}
	s.publishBooks(tx, b)
	tx.AfterCommit(func() { s.meter.booked(fact) })
	return bus.Settled{Amount: fact.Amount}, nil
}

// book writes the call into every total and ends its reservation.
func book(tx *sqlite.Tx, f bus.CostFact) error {
	return bookOn(tx, f, dayOf(f.Time).start, monthOf(f.Time).start)
}

func bookOn(tx *sqlite.Tx, f bus.CostFact, day, month string) error {
	u := f.Usage
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO cost_ledger (id, at, day, provider, model, purpose, session, message,
			input, output, cache_read, cache_write, amount) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			[]any{f.ID, f.Time.UnixMilli(), day, f.Provider, f.Model, f.Purpose, f.Session, f.MessageID,
				u.Input, u.Output, u.CacheRead, u.CacheWrite, f.Amount}},
		{`INSERT INTO cost_day (day, model, purpose, calls, input, output, cache_read, cache_write, amount)
			VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET calls = calls + 1, input = input + excluded.input, output = output + excluded.output,
			cache_read = cache_read + excluded.cache_read, cache_write = cache_write + excluded.cache_write,
			amount = amount + excluded.amount`,
			[]any{day, f.Model, purposeClass(f.Purpose), u.Input, u.Output, u.CacheRead, u.CacheWrite, f.Amount}},
		{`INSERT INTO cost_period (period, start, spent) VALUES ('day', ?, ?), ('month', ?, ?)
			ON CONFLICT DO UPDATE SET spent = spent + excluded.spent`,
			[]any{day, f.Amount, month, f.Amount}},
		{`DELETE FROM cost_reservation WHERE id = ?`, []any{f.ID}},
	} {
		if _, err := tx.Exec(q.sql, q.args...); err != nil {
			return fmt.Errorf("book call: %w", err)
		}
	}
	return nil
}

// markBooked says what the booking brought about in its own day and month, and
// returns the books of now.
func (s *Service) markBooked(tx *sqlite.Tx, at, now time.Time) (books, error) {
	b, err := s.read(at, tx.QueryRow)
	if err != nil {
		return b, err
	}
	for _, a := range []*account{&b.day, &b.month} {
		if err := s.mark(tx, a, now); err != nil {
			return b, err
		}
	}
	if b.day.start == dayOf(now).start {
		return b, nil
	}
	return s.read(now, tx.QueryRow)
}
