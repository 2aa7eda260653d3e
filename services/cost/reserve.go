// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// reserve answers cost.reserve.
func (s *Service) reserve(ctx context.Context, req bus.Reserve) (bus.Reserved, error) {
	granted, err := s.tryReserve(ctx, req)
	if err != nil {
		s.meter.refused(bus.CodeOf(err))
	}
	return granted, err
}

func (s *Service) tryReserve(ctx context.Context, req bus.Reserve) (bus.Reserved, error) {
	if err := checkCall(req.ModelCall, req.InputTokens, req.OutputTokens); err != nil {
		return bus.Reserved{}, err
	}
	price, err := s.terms.Load().rates.of(req.Model)
	if err != nil {
		return bus.Reserved{}, err
	}
	if price.free {
		return bus.Reserved{}, s.checkUnsettled(ctx, req.ID)
	}
	var granted bus.Reserved
	var refusal error // apart from the transaction's own error: it may have a mark to keep
	err = s.write(ctx, func(tx *sqlite.Tx) (err error) {
		granted, refusal, err = s.reserveIn(tx, req, price.worst(req.InputTokens, req.OutputTokens))
		return err
	})
	if err != nil {
		return bus.Reserved{}, err
	}
	return granted, refusal
}

// reserveIn decides and writes within the one write transaction, where nothing
// can change in between.
func (s *Service) reserveIn(tx *sqlite.Tx, req bus.Reserve, amount bus.MicroUSD) (granted bus.Reserved, refusal, err error) {
	now := s.clock()
	b, err := s.read(now, tx.QueryRow)
	if err != nil {
		return granted, nil, err
	}
	known, err := findCall(tx, req.ID)
	switch {
	case err != nil:
		return granted, nil, err
	case known.settled:
		return granted, settledBefore(req.ID), nil
	case b.stopped:
		return granted, stopped(b.reason), nil
	case known.reserved && (known.model != req.Model || known.amount != amount):
		return granted, bus.Errorf(bus.CodeConflict, "call %s was reserved for something else: %s, %v", req.ID, known.model, known.amount), nil
	case known.reserved:
		return bus.Reserved{Amount: amount, UsedPercent: b.usedPercent()}, nil, nil
	}
	if refusal, err = checkPurpose(tx, req, amount, now); refusal != nil || err != nil {
		return granted, refusal, err
	}
	refusal, err = s.checkBudgets(tx, &b, amount, now)
	if refusal != nil || err != nil {
		s.publishBooks(tx, b)
		return granted, refusal, err
	}
	if _, err := tx.Exec(`INSERT INTO cost_reservation (id, boot, at, model, amount, purpose) VALUES (?, ?, ?, ?, ?, ?)`,
		req.ID, s.boot, now.UnixMilli(), req.Model, amount, purposeClass(req.Purpose)); err != nil {
		return granted, nil, fmt.Errorf("write reservation: %w", err)
	}
	b.reserved += amount
	b.open++
	s.publishBooks(tx, b)
	return bus.Reserved{Amount: amount, UsedPercent: b.usedPercent()}, nil, nil
}

// call is what the tables know of a call's id.
type call struct {
	settled, reserved bool
	model             string // of the reservation
	amount            bus.MicroUSD
}

func findCall(tx *sqlite.Tx, id string) (call, error) {
	var c call
	var model sql.NullString
	var amount sql.NullInt64
	err := tx.QueryRow(`SELECT (SELECT count(*) FROM cost_ledger WHERE id = ?), r.model, r.amount
		FROM (SELECT 1) LEFT JOIN cost_reservation r ON r.id = ?`, id, id).Scan(&c.settled, &model, &amount)
	if err != nil {
		return c, fmt.Errorf("find call: %w", err)
	}
	c.reserved, c.model, c.amount = model.Valid, model.String, bus.MicroUSD(amount.Int64)
	return c, nil
}

// checkUnsettled stands in for a reservation where nothing is set aside.
func (s *Service) checkUnsettled(ctx context.Context, id string) error {
	var settled bool
	err := s.store.QueryRow(ctx, `SELECT count(*) FROM cost_ledger WHERE id = ?`, id).Scan(&settled)
	if err != nil {
		return fmt.Errorf("find call: %w", err)
	}
	if settled {
		return settledBefore(id)
	}
	return nil
}

func settledBefore(id string) error {
	return bus.Errorf(bus.CodeConflict, "call %s was made and settled before", id).
		WithHint("every call needs an id of its own")
}

func stopped(reason string) error {
	msg := "spending is stopped"
	if reason != "" {
		msg += ": " + reason
	}
	return bus.Errorf(bus.CodeStopped, "%s", msg).WithHint("to resume: blufio cost resume")
}

// checkPurpose returns why a purpose's own limit refuses a call, if it does.
func checkPurpose(tx *sqlite.Tx, req bus.Reserve, amount bus.MicroUSD, now time.Time) (refusal, err error) {
	if req.PurposeLimit <= 0 {
		return nil, nil
	}
	month, class := monthOf(now), purposeClass(req.Purpose)
	var spent, reserved bus.MicroUSD
	err = tx.QueryRow(`SELECT (SELECT coalesce(sum(amount), 0) FROM cost_day WHERE day >= ? AND day < ? AND purpose = ?3),
		(SELECT coalesce(sum(amount), 0) FROM cost_reservation WHERE purpose = ?3)`,
		month.start, dayOf(month.ends).start, class).Scan(&spent, &reserved)
	if err != nil {
		return nil, fmt.Errorf("read what %s cost: %w", class, err)
	}
	if amount <= req.PurposeLimit-spent-reserved {
		return nil, nil
	}
	e := bus.Errorf(bus.CodeBudget, "the monthly limit of %v for %s is reached: %v is spent, and this call may cost up to %v", req.PurposeLimit, class, spent, amount)
	e.RetryAfter = month.ends.Sub(now).Round(time.Second)
	return e, nil
}

// checkBudgets returns why a call of this amount is refused, if it is. The month
// comes first: whoever is told to wait for tomorrow should not wait in vain.
func (s *Service) checkBudgets(tx *sqlite.Tx, b *books, amount bus.MicroUSD, now time.Time) (refusal, err error) {
	for _, a := range []*account{&b.month, &b.day} {
		if a.limit == 0 || amount <= a.limit-a.spent-b.reserved {
			continue
		}
		if refusal == nil {
			refusal = overBudget(*a, b.reserved, amount, now)
		}
		if amount <= a.limit && amount > a.limit-a.spent {
			if err := s.markExhausted(tx, a, now); err != nil {
				return nil, err
			}
		}
	}
	return refusal, nil
}

// underWay is when to ask again while only calls under way fill a budget.
const underWay = 5 * time.Second

// overBudget says which budget refuses a call, by how much and until when.
func overBudget(a account, reserved, amount bus.MicroUSD, now time.Time) error {
	name, key := a.adjective(), a.adjective()+"_usd"
	if amount > a.limit {
		return bus.Errorf(bus.CodeBudget, "this call may cost up to %v, more than the whole %s budget of %v", amount, name, a.limit).
			WithHint("ask for fewer output tokens, or raise cost.%s", key)
	}
	if amount > a.limit-a.spent {
		e := bus.Errorf(bus.CodeBudget, "the %s budget of %v is exhausted: %v is spent, and this call may cost up to %v; it starts anew at %s",
			name, a.limit, a.spent, amount, a.ends.Format("2006-01-02 15:04 MST"))
		e.RetryAfter = a.ends.Sub(now).Round(time.Second)
		return e.WithHint("raise cost.%s, or wait", key)
	}
	e := bus.Errorf(bus.CodeBudget, "the %s budget of %v is taken: %v is spent, %v is set aside for calls under way, and this call may cost up to %v",
		name, a.limit, a.spent, reserved, amount)
	e.RetryAfter = underWay
	return e.WithHint("try again when those calls have ended, or raise cost.%s", key)
}

// maxName bounds every text of a call, in bytes.
const maxName = 256

// checkCall refuses what cannot be a call: missing or unprintable names, and
// token counts that are negative or beyond maxTokens.
func checkCall(c bus.ModelCall, tokens ...int64) error {
	if c.ID == "" || c.Model == "" {
		return bus.Errorf(bus.CodeInvalid, "a model call needs an id and a model")
	}
	for _, name := range []string{c.ID, c.MessageID, c.Session, c.Provider, c.Model, c.Purpose} {
		if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return bus.Errorf(bus.CodeInvalid, "names of a model call are printable and at most %d bytes long", maxName)
		}
	}
	for _, n := range tokens {
		if n < 0 || n > maxTokens {
			return bus.Errorf(bus.CodeInvalid, "%d tokens: a call has 0 to %d of a kind", n, maxTokens)
		}
	}
	return nil
}
