// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"fmt"
	"strconv"
)

const (
	vacuumPages = 64 // let go of in one transaction
	vacuumSteps = 64 // in one call: 16 MiB
	spareShare  = 4  // one page in so many may be free: it is used again
)

// Vacuum makes the database smaller when more than a quarter of its pages is free, which is
// what deleting leaves: SQLite uses them again, and gives none back by itself. It moves
// pages from the end to where there is room, a few in each of its writes, so that others
// come in between, and so many in one call that the write-ahead log, which only grows while
// a copy is taken, stays small: who calls it now and then gets back all of it. The file
// shrinks with the checkpoint that follows.
func (s *Store) Vacuum(ctx context.Context) error {
	for range vacuumSteps {
		more, err := s.sparePages(ctx)
		if err == nil && more < vacuumPages {
			return nil
		}
		if err == nil {
			err = s.Write(ctx, func(tx *Tx) error {
				_, err := tx.Exec("PRAGMA incremental_vacuum(" + strconv.Itoa(vacuumPages) + ")")
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("make database smaller: %w", err)
		}
	}
	return nil
}

// sparePages returns how many more pages are free than may be.
func (s *Store) sparePages(ctx context.Context) (int, error) {
	var free, all int
	if err := s.QueryRow(ctx, "PRAGMA freelist_count").Scan(&free); err != nil {
		return 0, classify(err)
	}
	if err := s.QueryRow(ctx, "PRAGMA page_count").Scan(&all); err != nil {
		return 0, classify(err)
	}
	return free - all/spareShare, nil
}
