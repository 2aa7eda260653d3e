// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"fmt"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema holds one row for each full hour of readings, and what the last event said.
// Times are Unix milliseconds.
var Schema = sqlite.Schema{Room: "governor", Steps: []string{`
CREATE TABLE memory_hour (
	at          INTEGER PRIMARY KEY, -- its end
	version     TEXT NOT NULL,       -- of the program
	weight      INTEGER NOT NULL,    -- fixed, and part of the resident set, in bytes
	rss_least   INTEGER NOT NULL,
	rss_middle  INTEGER NOT NULL,
	rss_most    INTEGER NOT NULL,
	own_least   INTEGER NOT NULL,    -- of what no file backs, without the weight
	own_middle  INTEGER NOT NULL,
	own_most    INTEGER NOT NULL,
	heap_least  INTEGER NOT NULL,
	heap_middle INTEGER NOT NULL,
	heap_most   INTEGER NOT NULL
);
`, `
CREATE TABLE memory_said (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	level TEXT NOT NULL -- of the last event: what its listeners know, whatever became of the process
);
`}}

// maxHours is how many hours are kept: thirty days.
const maxHours = 30 * 24

const storeTime = time.Minute

// keep hands a full hour to the loop that stores it. The readings do not wait for the
// disk.
func (s *Service) keep(h hour) {
	select {
	case s.full <- h:
	default:
		s.deps.Logger.Warn("an hour of memory's history is lost: the one before is not stored yet", "service", "governor")
	}
}

// remember stores hours as they become full, until ctx ends.
func (s *Service) remember(ctx context.Context) error {
	s.count(ctx)
	for {
		select {
		case h := <-s.full:
			if err := s.store(ctx, h); err != nil && ctx.Err() == nil {
				s.deps.Logger.Warn("an hour of memory's history is lost", "service", "governor", "err", err)
			}
			s.count(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// store writes an hour and forgets what is beyond the bound. A clock that was set back
// writes over what it has written.
func (s *Service) store(ctx context.Context, h hour) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	err := s.deps.Store.Write(ctx, func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`INSERT OR REPLACE INTO memory_hour (at, version, weight, rss_least, rss_middle, rss_most, own_least, own_middle, own_most, heap_least, heap_middle, heap_most)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, h.at.UnixMilli(), s.deps.Version, h.weight, h.rss.least, h.rss.middle, h.rss.most,
			h.own.least, h.own.middle, h.own.most, h.heap.least, h.heap.middle, h.heap.most); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM memory_hour WHERE at < ? OR at NOT IN (SELECT at FROM memory_hour ORDER BY at DESC LIMIT ?)`,
			h.at.Add(-maxHours*hourLong).UnixMilli(), maxHours)
		return err
	})
	if err != nil {
		return fmt.Errorf("store hour: %w", err)
	}
	return nil
}

// count looks how many hours are kept, for the gauge.
func (s *Service) count(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	var n int64
	if err := s.deps.Store.QueryRow(ctx, `SELECT count(*) FROM memory_hour`).Scan(&n); err != nil {
		if ctx.Err() == nil {
			s.deps.Logger.Warn("count memory's history", "service", "governor", "err", err)
		}
		return
	}
	s.kept.Store(n)
}

// history reads the hours that can be compared with now: of this program, and with the
// same fixed weight. The newest is first.
func (s *Service) history(ctx context.Context, weight int64) (all []hour, err error) {
	rows, err := s.deps.Store.Query(ctx, `SELECT at, rss_least, rss_middle, rss_most, own_least, own_middle, own_most, heap_least, heap_middle, heap_most FROM memory_hour
		WHERE version = ? AND weight = ? ORDER BY at DESC`, s.deps.Version, weight)
	if err != nil {
		return nil, fmt.Errorf("read memory's history: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		h, at := hour{weight: weight}, int64(0)
		if err := rows.Scan(&at, &h.rss.least, &h.rss.middle, &h.rss.most, &h.own.least, &h.own.middle, &h.own.most, &h.heap.least, &h.heap.middle, &h.heap.most); err != nil {
			return nil, fmt.Errorf("read memory's history: %w", err)
		}
		h.at = time.UnixMilli(at)
		all = append(all, h)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read memory's history: %w", err)
	}
	return all, nil
}
