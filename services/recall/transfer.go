// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/fold"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// list answers recall.list.
func (s *Service) list(ctx context.Context, q bus.RecallPageQuery) (bus.RecallPage, error) {
	page := bus.RecallPage{Entries: []bus.RecallEntry{}}
	if q.Limit == 0 {
		q.Limit = 50
	}
	if q.Limit < 1 || q.Limit > bus.RecallPageMax {
		return page, bus.Errorf(bus.CodeInvalid, "a page has 1 to %d facts, not %d", bus.RecallPageMax, q.Limit)
	}
	var after int64
	if q.After != "" {
		var err error
		if after, err = strconv.ParseInt(q.After, 10, 64); err != nil {
			return page, bus.Errorf(bus.CodeInvalid, "%q is not where a page ended", q.After)
		}
	}
	where, args := `n > ?`, []any{after}
	if q.Owner != "" {
		where, args = where+` AND owner = ?`, append(args, q.Owner)
	}
	if q.About != "" {
		where, args = where+` AND same_about = ?`, append(args, fold.Key(q.About))
	}
	if !q.History {
		where += ` AND superseded_by IS NULL`
	}
	rows, err := rowsOf(s.d.Store.Query(ctx, `SELECT `+columns+` FROM recall_entry WHERE `+where+` ORDER BY n LIMIT ?`, append(args, q.Limit+1)...))
	if err != nil {
		return page, fmt.Errorf("read facts: %w", err)
	}
	size := 0
	for i, r := range rows {
		size += onBus(r.RecallEntry)
		if i == q.Limit || i > 0 && size > bus.RecallPageBytes {
			page.Next = strconv.FormatInt(rows[i-1].n, 10)
			break
		}
		page.Entries = append(page.Entries, r.RecallEntry)
	}
	return page, nil
}

// onBus is how many bytes a fact has in a message: some characters have six there.
func onBus(e bus.RecallEntry) int {
	data, err := json.Marshal(e)
	if err != nil {
		return 0 // it has nothing that could fail
	}
	return len(data)
}

// take answers recall.import.
func (s *Service) take(ctx context.Context, q bus.RecallBatch) (out bus.RecallImported, err error) {
	if !s.cfg.Enable {
		return out, errSwitchedOff()
	}
	if len(q.Entries) > bus.RecallMaxBatch {
		return out, bus.Errorf(bus.CodeTooLarge, "an import has at most %d facts, not %d", bus.RecallMaxBatch, len(q.Entries))
	}
	now := s.d.Now()
	for i := range q.Entries {
		if err := checkEntry(&q.Entries[i], now); err != nil {
			return out, fmt.Errorf("fact %d: %w", i+1, err)
		}
	}
	err = s.write(ctx, func(tx *sqlite.Tx, c *changed) error {
		for _, e := range q.Entries {
			added, err := s.takeOne(tx, c, e)
			if err != nil {
				return err
			}
			if added {
				out.Added++
			} else {
				out.Known++
			}
		}
		return nil
	})
	return out, err
}

// takeOne keeps an entry as it was exported. Of two that are about the same the later one counts, wherever it is from.
func (s *Service) takeOne(tx *sqlite.Tx, c *changed, e bus.RecallEntry) (added bool, err error) {
	r, err := known(tx, e.ID)
	if r != nil || err != nil {
		return false, err
	}
	if e.SupersededBy == "" {
		if r, err = s.same(tx, e); r != nil || err != nil {
			return false, err
		}
		if about := fold.Key(e.About); about != "" {
			r, err = rowWhere(tx, `owner = ? AND same_about = ? AND same_about <> '' AND superseded_by IS NULL`, e.Owner, about)
			if err != nil {
				return false, err
			}
			if r != nil && r.At.After(e.At) {
				e.SupersededBy = r.ID
			}
		}
	}
	if r, err = insert(tx, e); err != nil {
		return false, err
	}
	if r.current() {
		c.new++
		if _, err := s.replace(tx, c, r); err != nil {
			return false, err
		}
	}
	if err := s.evict(tx, c, r.n); err != nil {
		return false, err
	}
	return true, s.told(tx, r, false)
}
