// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	maxModels = 50  // in a summary
	maxReason = 500 // bytes of the kill switch's reason
)

// purposeDoctor is what doctor's check of a whole turn is booked as: it costs nothing
// and is not in the bill.
const purposeDoctor = "doctor"

// get answers cost.get from the tables.
func (s *Service) get(ctx context.Context, _ bus.CostQuery) (bus.CostSummary, error) {
	b, err := s.read(s.clock(), func(query string, args ...any) *sql.Row {
		return s.store.QueryRow(ctx, query, args...)
	})
	if err != nil {
		return bus.CostSummary{}, err
	}
	sum := bus.CostSummary{
		Today: b.day.spent, Month: b.month.spent, Reserved: b.reserved,
		DailyLimit: b.day.limit, MonthlyLimit: b.month.limit,
		Stopped: b.stopped, StoppedReason: b.reason,
	}
	sum.Models, err = s.models(ctx, b.month.span)
	return sum, err
}

func (s *Service) models(ctx context.Context, month span) ([]bus.ModelCost, error) {
	rows, err := s.store.Query(ctx, `SELECT model, sum(calls), sum(input), sum(output), sum(cache_read), sum(cache_write), sum(amount)
		FROM cost_day WHERE day >= ? AND day < ? AND purpose <> ? GROUP BY model ORDER BY sum(amount) DESC, model LIMIT ?`,
		month.start, dayOf(month.ends).start, purposeDoctor, maxModels)
	if err != nil {
		return nil, fmt.Errorf("read models: %w", err)
	}
	defer rows.Close()
	out := []bus.ModelCost{}
	for rows.Next() {
		var m bus.ModelCost
		if err := rows.Scan(&m.Model, &m.Calls, &m.Usage.Input, &m.Usage.Output, &m.Usage.CacheRead, &m.Usage.CacheWrite, &m.Amount); err != nil {
			return nil, fmt.Errorf("read models: %w", err)
		}
		out = append(out, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read models: %w", err)
	}
	return out, nil
}

// set answers ctl.spending.set. A switch that already stands so changes nothing
// and says nothing.
func (s *Service) set(ctx context.Context, req bus.SpendingSwitch) (bus.CostSummary, error) {
	if len(req.Reason) > maxReason || !utf8.ValidString(req.Reason) || strings.ContainsFunc(req.Reason, unicode.IsControl) {
		return bus.CostSummary{}, bus.Errorf(bus.CodeInvalid, "a reason is one printable line of at most %d bytes", maxReason)
	}
	if err := s.write(ctx, func(tx *sqlite.Tx) error { return s.setIn(tx, req) }); err != nil {
		return bus.CostSummary{}, err
	}
	return s.get(ctx, bus.CostQuery{})
}

func (s *Service) setIn(tx *sqlite.Tx, req bus.SpendingSwitch) error {
	now := s.clock()
	b, err := s.read(now, tx.QueryRow)
	if err != nil {
		return err
	}
	standing := "" // why spending stands still; nothing to remember once it goes on
	if req.Stopped {
		standing = req.Reason
	}
	if b.stopped == req.Stopped && b.reason == standing {
		return nil
	}
	if _, err := tx.Exec(`UPDATE cost_switch SET stopped = ?, reason = ?`, req.Stopped, standing); err != nil {
		return fmt.Errorf("turn kill switch: %w", err)
	}
	b.stopped, b.reason = req.Stopped, standing
	s.publishBooks(tx, b)
	return eventlog.Record(s.events, tx, bus.SpendingChanged, bus.SpendingFact{Time: now, Stopped: req.Stopped, Reason: req.Reason})
}
