// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"fmt"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	sweepBatch = 500       // rows deleted in one write, so that nobody waits long for it
	longest    = time.Hour // no model call takes longer
)

// sweep releases reservations that nobody will settle and deletes ledger rows
// past their time. The totals of their days stay.
func (s *Service) sweep(ctx context.Context) error {
	now := s.clock()
	err := s.write(ctx, func(tx *sqlite.Tx) error {
		if err := s.release(tx, `at < ?`, now.Add(-longest).UnixMilli()); err != nil {
			return err
		}
		return s.refresh(tx)
	})
	if err != nil {
		return err
	}
	for before := now.AddDate(0, 0, -s.keep); ; {
		n, err := s.sweepLedger(ctx, before)
		if err != nil || n < sweepBatch {
			return err
		}
	}
}

// sweepLedger deletes one batch and says how many rows that were.
func (s *Service) sweepLedger(ctx context.Context, before time.Time) (n int64, err error) {
	err = s.write(ctx, func(tx *sqlite.Tx) error {
		res, err := tx.Exec(`DELETE FROM cost_ledger WHERE rowid IN
			(SELECT rowid FROM cost_ledger WHERE at < ? ORDER BY at LIMIT ?)`, before.UnixMilli(), sweepBatch)
		if err != nil {
			return fmt.Errorf("sweep ledger: %w", err)
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}
