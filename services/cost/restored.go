// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const carriedRows = 500 // in one transaction

// CarryOver books in a restored database what the one that it replaces has booked since:
// that money is spent, and the budgets have to know. A stop of all spending stays one.
func CarryOver(ctx context.Context, replaced, restored *sqlite.Store) (calls int, err error) {
	if err := carryStop(ctx, replaced, restored); err != nil {
		return 0, fmt.Errorf("carry over that spending is stopped: %w", err)
	}
	var last string
	for {
		page, err := ledgerBehind(ctx, replaced, last)
		if err != nil {
			return calls, fmt.Errorf("read the replaced ledger: %w", err)
		}
		if len(page) == 0 {
			return calls, nil
		}
		last = page[len(page)-1].fact.ID
		n, err := bookMissing(ctx, restored, page)
		if err != nil {
			return calls, fmt.Errorf("book what was spent since: %w", err)
		}
		calls += n
	}
}

func carryStop(ctx context.Context, replaced, restored *sqlite.Store) error {
	var reason string
	err := replaced.QueryRow(ctx, `SELECT reason FROM cost_switch WHERE stopped`).Scan(&reason)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return restored.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE cost_switch SET stopped = 1, reason = ? WHERE NOT stopped`, reason)
		return err
	})
}

// entry is a row of the ledger.
type entry struct {
	fact bus.CostFact
	day  string
}

func ledgerBehind(ctx context.Context, db *sqlite.Store, last string) (page []entry, err error) {
	rows, err := db.Query(ctx, `SELECT id, at, day, provider, model, purpose, session, message, input, output, cache_read, cache_write, amount
		FROM cost_ledger WHERE id > ? ORDER BY id LIMIT ?`, last, carriedRows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e entry
		var at int64
		f := &e.fact
		if err := rows.Scan(&f.ID, &at, &e.day, &f.Provider, &f.Model, &f.Purpose, &f.Session, &f.MessageID,
			&f.Usage.Input, &f.Usage.Output, &f.Usage.CacheRead, &f.Usage.CacheWrite, &f.Amount); err != nil {
			return nil, err
		}
		f.Time = time.UnixMilli(at)
		page = append(page, e)
	}
	return page, rows.Err()
}

// bookMissing books those that the ledger has not got, on the days that they were on.
func bookMissing(ctx context.Context, restored *sqlite.Store, page []entry) (calls int, err error) {
	n := 0
	err = restored.Write(ctx, func(tx *sqlite.Tx) error {
		n = 0
		for _, e := range page {
			var there bool
			if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM cost_ledger WHERE id = ?)`, e.fact.ID).Scan(&there); err != nil || there {
				if err != nil {
					return err
				}
				continue
			}
			if len(e.day) != len(time.DateOnly) {
				return fmt.Errorf("call %s is of no day: %q", e.fact.ID, e.day)
			}
			if err := bookOn(tx, e.fact, e.day, e.day[:8]+"01"); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
