// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"maps"
	"slices"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	evictMost  = 200 // in one transaction
	evictShare = 100 // one in so many goes at once, for to look for them costs a walk through all
	idsInEvent = 100
)

// evict gives up what has the least value, when there is more than the bound: history first, then what is neither
// important, nor young, nor was said or found often. keep is spared.
func (s *Service) evict(tx *sqlite.Tx, c *changed, keep int64) error {
	entries, history, err := count(tx.QueryRow)
	over := entries + history - int64(s.cfg.MaxEntries)
	if err != nil || over <= 0 {
		return err
	}
	half := s.weights().DecayHalfLife.Milliseconds()
	if half == 0 {
		half = 1 << 60
	}
	rows, err := rowsOf(tx.Query(`SELECT `+columns+` FROM recall_entry WHERE n <> ? ORDER BY superseded_by IS NULL,
		(importance + 0.25) * (1 + 0.1 * min(seen + found, 30)) / (1 + max(? - at, 0) / cast(? AS REAL)), n LIMIT ?`,
		keep, s.d.Now().UnixMilli(), half, min(max(over, int64(s.cfg.MaxEntries/evictShare)), evictMost)))
	if err != nil {
		return err
	}
	facts := map[string]*bus.RecallEvictedFact{}
	for i := range rows {
		r := &rows[i]
		if err := r.remove(tx); err != nil {
			return err
		}
		c.gone = append(c.gone, r.n)
		f := facts[r.Owner]
		if f == nil {
			f = &bus.RecallEvictedFact{Time: s.d.Now(), Owner: r.Owner}
			facts[r.Owner] = f
		}
		f.Count++
		if !r.current() {
			f.History++
		}
		if len(f.IDs) < idsInEvent {
			f.IDs = append(f.IDs, r.ID)
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(facts)) {
		if err := eventlog.Record(s.d.Events, tx, bus.FactEvicted, *facts[owner]); err != nil {
			return err
		}
	}
	n := float64(len(rows))
	tx.AfterCommit(func() { s.meter.evicted.Add(n) })
	return nil
}
