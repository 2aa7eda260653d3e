// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const settlePage = 32 // settlements under way at one time

// bookLater writes what model calls used beside what came of them. The ledger
// hears of it from runSettlements, as often as it takes.
func (s *Service) bookLater(tx *sqlite.Tx, used []bus.Settle) error {
	for _, u := range used {
		payload, err := json.Marshal(u)
		if err != nil {
			return fmt.Errorf("encode settlement: %w", err)
		}
		if err := listed(tx, payload); err != nil {
			return err
		}
	}
	if len(used) > 0 {
		tx.AfterCommit(func() { wake(s.settle) })
	}
	return nil
}

// settlement is one row.
type settlement struct {
	id      int64
	payload bus.Settle
	err     error // it cannot be read
}

// runSettlements tells the ledger until ctx ends; the rest stays for the next
// start. The ledger books each call once, however often it is told.
func (s *Service) runSettlements(ctx context.Context) error {
	retry := time.NewTicker(s.pauses.settle)
	defer retry.Stop()
	wake(s.settle) // what an earlier run left
	var after int64
	for {
		select {
		case <-s.settle:
		case <-retry.C:
			after = 0 // those that failed are still there
		case <-ctx.Done():
			return nil
		}
		for ctx.Err() == nil {
			page, err := s.unsettled(ctx, after)
			if err != nil && ctx.Err() == nil {
				s.log.Warn("read settlements", "service", "agent", "err", err)
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].id
			if err := s.settlePage(ctx, page); err != nil {
				return err
			}
		}
	}
}

func (s *Service) unsettled(ctx context.Context, after int64) ([]settlement, error) {
	rows, err := s.store.Query(ctx, `SELECT id, payload FROM settlement WHERE id > ? ORDER BY id LIMIT ?`, after, settlePage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []settlement
	for rows.Next() {
		var st settlement
		var data []byte
		if err := rows.Scan(&st.id, &data); err != nil {
			return nil, err
		}
		st.err = json.Unmarshal(data, &st.payload)
		out = append(out, st)
	}
	return out, rows.Err()
}

// settlePage tells the ledger of a page side by side, so that it can book them
// in one commit.
func (s *Service) settlePage(ctx context.Context, page []settlement) error {
	var loops []func(context.Context) error
	for _, st := range page {
		if st.err != nil { // it stays listed, and holds up none behind it
			s.tellUnreadable(st)
			continue
		}
		loops = append(loops, func(ctx context.Context) error { s.settleOne(ctx, st); return nil })
	}
	return services.Work(ctx, loops...)
}

// tellUnreadable tells of each once: they come in the order of their ids, in every round.
func (s *Service) tellUnreadable(st settlement) {
	if st.id <= s.unreadable {
		return
	}
	s.unreadable = st.id
	s.log.Error("call not booked: its settlement cannot be read", "service", "agent", "settlement", st.id, "err", st.err)
}

func (s *Service) settleOne(ctx context.Context, st settlement) {
	ctx = bus.WithTrace(ctx, st.payload.MessageID)
	failpoint.Hit("settle.ask")
	if _, err := bus.CostSettle.Ask(ctx, s.bus(), st.payload); err != nil {
		if ctx.Err() == nil {
			s.log.Warn("call not booked, trying again", "service", "agent", "trace", st.payload.MessageID, "err", err)
			s.metrics.unsettled.Inc()
			s.metrics.settlementsFailed.Add(1)
		}
		return
	}
	failpoint.Hit("settle.booked")
	err := s.store.WriteLazy(func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`DELETE FROM settlement WHERE id = ?`, st.id)
		return err
	}, nil)
	if err != nil {
		s.log.Warn("booked call stays listed and is told again", "service", "agent", "err", err)
	}
}
