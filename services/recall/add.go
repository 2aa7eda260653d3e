// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/fold"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// keptCalls is how many ids of one fact are known: of the calls that said it last.
const keptCalls = 8

// changed is what a transaction has changed of what is in memory.
type changed struct {
	gone []int64 // their vectors go
	new  int     // vectors that are to be made
}

// add answers recall.add.
func (s *Service) add(ctx context.Context, q bus.RecallAdd) (out bus.RecallAdded, err error) {
	if !s.cfg.Enable {
		return out, errSwitchedOff()
	}
	e := bus.RecallEntry{ID: q.ID, Owner: q.Owner, Text: q.Text, About: q.About, Source: q.Source, Importance: q.Importance, At: q.At, Seen: 1}
	if err := checkEntry(&e, s.d.Now()); err != nil {
		return out, err
	}
	err = s.write(ctx, func(tx *sqlite.Tx, c *changed) error {
		out, err = s.keep(tx, c, e)
		return err
	})
	return out, err
}

func errSwitchedOff() error {
	return bus.Errorf(bus.CodeUnavailable, "nothing is remembered: recall is switched off").WithHint("set recall.enable = true")
}

// keep stores an entry: once for each id, merged with what says the same, and in place of what was known about the same.
func (s *Service) keep(tx *sqlite.Tx, c *changed, e bus.RecallEntry) (out bus.RecallAdded, err error) {
	r, err := known(tx, e.ID)
	if err != nil {
		return out, err
	}
	if r != nil {
		return again(tx, r, e)
	}
	if err := notForgotten(tx, e); err != nil {
		return out, err
	}
	if r, err = s.same(tx, e); err != nil {
		return out, err
	}
	merged := r != nil
	if merged {
		err = r.merge(tx, e, e.ID)
	} else if r, err = insert(tx, e); err == nil {
		c.new++
	}
	if err != nil {
		return out, err
	}
	superseded, err := s.replace(tx, c, r)
	if err != nil {
		return out, err
	}
	if err := s.evict(tx, c, r.n); err != nil {
		return out, err
	}
	return bus.RecallAdded{Entry: r.RecallEntry, Merged: merged, Superseded: superseded}, s.told(tx, r, merged)
}

func (s *Service) told(tx *sqlite.Tx, r *row, merged bool) error {
	return eventlog.Record(s.d.Events, tx, bus.FactAdded, bus.RecallAddedFact{Time: s.d.Now(), ID: r.ID, Owner: r.Owner, Source: r.Source, Merged: merged, Bytes: len(r.Text)})
}

// known finds an entry by an id of its own or of a call that said it again.
func known(tx *sqlite.Tx, id string) (*row, error) {
	r, err := rowWhere(tx, `id = ?`, id)
	if r != nil || err != nil {
		return r, err
	}
	return rowWhere(tx, `n = (SELECT n FROM recall_call WHERE id = ?)`, id)
}

// again answers a call that was made before.
func again(tx *sqlite.Tx, r *row, e bus.RecallEntry) (out bus.RecallAdded, err error) {
	if r.Owner != e.Owner {
		return out, bus.Errorf(bus.CodeConflict, "the id %q is one of a fact of somebody else", e.ID)
	}
	older, err := rowsOf(tx.Query(`SELECT `+columns+` FROM recall_entry WHERE superseded_by = ? ORDER BY n`, r.ID))
	out = bus.RecallAdded{Entry: r.RecallEntry, Merged: r.ID != e.ID, Superseded: []string{}}
	for _, o := range older {
		out.Superseded = append(out.Superseded, o.ID)
	}
	return out, err
}

// same finds what says the same in the same words, and about nothing else.
func (s *Service) same(tx *sqlite.Tx, e bus.RecallEntry) (*row, error) {
	rows, err := rowsOf(tx.Query(`SELECT `+columns+` FROM recall_entry WHERE owner = ? AND same_text = ? AND superseded_by IS NULL ORDER BY n`, e.Owner, sameText(e.Text)))
	about := fold.Key(e.About)
	for i := range rows {
		if compatible(rows[i].sameAbout, about) {
			return &rows[i], err
		}
	}
	return nil, err
}

// compatible is whether two facts may be one by what they are about.
func compatible(a, b string) bool { return a == b || a == "" || b == "" }

// merge adds to an entry that it was said once more, in a call of that id.
func (r *row) merge(tx *sqlite.Tx, e bus.RecallEntry, call string) error {
	r.Seen += e.Seen
	r.Importance = max(r.Importance, e.Importance)
	if e.At.After(r.At) {
		r.At = e.At
	}
	if about := fold.Key(e.About); r.sameAbout == "" && about != "" {
		if err := r.unindex(tx); err != nil {
			return err
		}
		r.About, r.sameAbout = e.About, about
		if err := r.index(tx); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`UPDATE recall_entry SET seen = ?, importance = ?, at = ?, about = ?, same_about = ? WHERE n = ?`,
		r.Seen, r.Importance, r.At.UnixMilli(), r.About, r.sameAbout, r.n)
	if err != nil {
		return fmt.Errorf("merge fact: %w", err)
	}
	return r.called(tx, call, e.At)
}

// called notes one more id, and forgets the oldest.
func (r *row) called(tx *sqlite.Tx, id string, at time.Time) error {
	if _, err := tx.Exec(`INSERT OR REPLACE INTO recall_call (id, n, at) VALUES (?, ?, ?)`, id, r.n, at.UnixMilli()); err != nil {
		return fmt.Errorf("note call: %w", err)
	}
	_, err := tx.Exec(`DELETE FROM recall_call WHERE n = ?1 AND id NOT IN (SELECT id FROM recall_call WHERE n = ?1 ORDER BY at DESC, id LIMIT ?2)`, r.n, keptCalls)
	return err
}

// replace makes history of what else is known about the same.
func (s *Service) replace(tx *sqlite.Tx, c *changed, r *row) (ids []string, err error) {
	ids = []string{}
	if r.sameAbout == "" {
		return ids, nil
	}
	older, err := rowsOf(tx.Query(`SELECT `+columns+` FROM recall_entry WHERE owner = ? AND same_about = ? AND same_about <> '' AND superseded_by IS NULL AND n <> ?`,
		r.Owner, r.sameAbout, r.n))
	if err != nil || len(older) == 0 {
		return ids, err
	}
	for i := range older {
		if err := older[i].supersede(tx, r.ID); err != nil {
			return ids, err
		}
		ids, c.gone = append(ids, older[i].ID), append(c.gone, older[i].n)
	}
	return ids, eventlog.Record(s.d.Events, tx, bus.FactSuperseded, bus.RecallSupersededFact{Time: s.d.Now(), Owner: r.Owner, ID: r.ID, Old: ids})
}
