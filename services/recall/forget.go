// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"fmt"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	forgetOnce = 100  // ids in one call
	forgetMost = 2500 // facts in one call for all: some seconds
	forgetEach = 25   // facts in one transaction: words are taken out of the index one by one, and others wait meanwhile
)

// forget answers recall.forget. What is gone is overwritten in the database's file; what the write-ahead log still has
// is overwritten by [Service.clean], a moment later.
func (s *Service) forget(ctx context.Context, q bus.RecallForget) (out bus.RecallForgotten, err error) {
	out.Unknown = []string{}
	switch {
	case q.All && (q.Owner == "" || len(q.IDs) > 0):
		return out, bus.Errorf(bus.CodeInvalid, "everything is forgotten of one owner, without ids")
	case !q.All && (len(q.IDs) == 0 || len(q.IDs) > forgetOnce):
		return out, bus.Errorf(bus.CodeInvalid, "name 1 to %d facts by their ids", forgetOnce)
	}
	defer s.cleanSoon()
	for more := true; more; {
		var n int
		err := s.write(ctx, func(tx *sqlite.Tx, c *changed) error {
			rows, err := s.chosen(tx, q, &out)
			if err != nil {
				return err
			}
			n = len(rows)
			return s.forgetRows(tx, c, rows)
		})
		if err != nil {
			return out, err
		}
		out.Count += n
		more = q.All && n == forgetEach && out.Count < s.forgets
	}
	return out, nil
}

// chosen finds what a request names, with the history of each.
func (s *Service) chosen(tx *sqlite.Tx, q bus.RecallForget, out *bus.RecallForgotten) ([]row, error) {
	if q.All {
		return rowsOf(tx.Query(`SELECT `+columns+` FROM recall_entry WHERE owner = ? ORDER BY n LIMIT ?`, q.Owner, forgetEach))
	}
	var rows []row
	seen := map[int64]bool{}
	for _, id := range q.IDs {
		r, err := known(tx, id)
		if err != nil {
			return nil, err
		}
		if r == nil || q.Owner != "" && r.Owner != q.Owner {
			out.Unknown = append(out.Unknown, id)
			continue
		}
		chain, err := rowsOf(tx.Query(`WITH RECURSIVE past (id) AS (SELECT ? UNION SELECT e.id FROM recall_entry e JOIN past ON e.superseded_by = past.id)
			SELECT `+columns+` FROM recall_entry WHERE id IN past`, r.ID))
		if err != nil {
			return nil, err
		}
		for _, r := range chain {
			if !seen[r.n] {
				seen[r.n] = true
				rows = append(rows, r)
			}
		}
	}
	return rows, nil
}

func (s *Service) forgetRows(tx *sqlite.Tx, c *changed, rows []row) error {
	byOwner := map[string]*bus.RecallForgottenFact{}
	var order []string
	for i := range rows {
		r := &rows[i]
		if err := r.remove(tx); err != nil {
			return err
		}
		c.gone = append(c.gone, r.n)
		f := byOwner[r.Owner]
		if f == nil {
			f = &bus.RecallForgottenFact{Time: s.d.Now(), Owner: r.Owner}
			byOwner[r.Owner], order = f, append(order, r.Owner)
		}
		if f.Count++; len(f.IDs) < idsInEvent {
			f.IDs = append(f.IDs, r.ID)
		}
	}
	for _, owner := range order {
		if _, err := tx.Exec(`INSERT OR REPLACE INTO recall_forgotten (owner, at) VALUES (?, ?)`, owner, s.d.Now()); err != nil {
			return fmt.Errorf("note that something was forgotten: %w", err)
		}
		if err := eventlog.Record(s.d.Events, tx, bus.FactForgotten, *byOwner[owner]); err != nil {
			return err
		}
	}
	return nil
}

// notForgotten refuses a fact that was picked out of a conversation in which its owner may have said what was forgotten since.
func notForgotten(tx *sqlite.Tx, e bus.RecallEntry) error {
	if e.Source != bus.RecallSession {
		return nil // said again, or put back
	}
	var since bool
	if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM recall_forgotten WHERE owner = ? AND at >= ?)`, e.Owner, e.At).Scan(&since); err != nil {
		return fmt.Errorf("look for what was forgotten: %w", err)
	}
	if since {
		return bus.Errorf(bus.CodeConflict, "something of %s was forgotten since: what was said before is not picked up again", e.Owner)
	}
	return nil
}

// cleanSoon asks for the write-ahead log to be emptied.
func (s *Service) cleanSoon() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// clean empties the write-ahead log after something was forgotten, as soon as nobody reads from it.
func (s *Service) clean(ctx context.Context) error {
	for {
		select {
		case <-s.dirty:
		case <-ctx.Done():
			return nil
		}
		for wait := cleanFirst; ; wait = min(2*wait, cleanMost) { // another program may read for long
			done, err := s.d.Store.EmptyLog(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				s.d.Logger.Warn("what was forgotten is still in the write-ahead log", "service", name, "err", err)
			}
			if done {
				break
			}
			select {
			case <-s.d.After(wait):
			case <-ctx.Done():
				return nil
			}
		}
	}
}
