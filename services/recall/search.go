// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/recall/index"
)

const (
	defaultHits = 5
	leastDepth  = 15 // candidates of each kind, at the least
)

// search answers recall.search.
func (s *Service) search(ctx context.Context, q bus.RecallQuery) (bus.RecallHits, error) {
	out := bus.RecallHits{Hits: []bus.RecallHit{}}
	if q.Limit == 0 {
		q.Limit = defaultHits
	}
	switch {
	case q.Limit < 1 || q.Limit > bus.RecallMaxHits || q.MaxBytes < 0:
		return out, bus.Errorf(bus.CodeInvalid, "a search has 1 to %d hits, not %d", bus.RecallMaxHits, q.Limit)
	case len(q.Text) > bus.RecallMaxQuery:
		return out, bus.Errorf(bus.CodeTooLarge, "a question may have %d bytes, not %d", bus.RecallMaxQuery, len(q.Text))
	case q.Owner != "" && !validOwner(q.Owner):
		return out, bus.Errorf(bus.CodeInvalid, "%q can own nothing", q.Owner)
	case !s.cfg.Enable:
		return out, nil
	}
	began := time.Now()
	defer func() { s.meter.seconds.Observe(time.Since(began).Seconds()) }()
	cfg, depth := s.weights(), max(leastDepth, 2*q.Limit)
	var near []index.Hit
	if cfg.VectorsWeight > 0 {
		near, out.Embedder = s.byVector(ctx, q.Owner, q.Text, depth)
	}
	all, err := s.found(ctx, cfg, q, near, out.Embedder, depth)
	if err != nil {
		return out, err
	}
	cfg.rank(all, s.d.Now())
	var taken []int64
	size := 0
	for _, c := range cfg.pick(all, q.Limit, q.MaxBytes) {
		if size += onBus(c.RecallEntry); size > bus.RecallPageBytes {
			break
		}
		out.Hits = append(out.Hits, bus.RecallHit{RecallEntry: c.RecallEntry, Score: c.score, By: c.by()})
		taken = append(taken, c.n)
	}
	s.ofUse(taken)
	return out, nil
}

// found finds what has the words of a question, and reads it with what is near.
func (s *Service) found(ctx context.Context, cfg *Config, q bus.RecallQuery, near []index.Hit, embedder string, depth int) ([]candidate, error) {
	if cfg.WordsWeight == 0 {
		all, _, err := s.candidates(ctx, q.Owner, nil, near, embedder)
		return all, err
	}
	words, err := s.byWords(ctx, q.Owner, q.Text, depth, false)
	if err != nil {
		return nil, err
	}
	all, others, err := s.candidates(ctx, q.Owner, words, near, embedder)
	if err != nil || !others {
		return all, err
	}
	if words, err = s.byWords(ctx, q.Owner, q.Text, depth, true); err != nil { // the others have taken places among the best
		return nil, err
	}
	all, _, err = s.candidates(ctx, q.Owner, words, near, embedder)
	return all, err
}

// candidates reads the facts that were found. It tells whether somebody else's were among them, which it leaves out.
func (s *Service) candidates(ctx context.Context, owner string, words []int64, near []index.Hit, embedder string) (out []candidate, others bool, err error) {
	places := map[int64]*candidate{}
	var ns []int64
	at := func(n int64) *candidate {
		if places[n] == nil {
			places[n], ns = &candidate{}, append(ns, n)
		}
		return places[n]
	}
	for i, n := range words {
		at(n).words = i + 1
	}
	for i, h := range near {
		at(h.ID).near = i + 1
	}
	if len(ns) == 0 {
		return nil, false, nil
	}
	list, err := json.Marshal(ns)
	if err != nil {
		return nil, false, fmt.Errorf("list facts: %w", err)
	}
	rows, err := s.d.Store.Query(ctx, `SELECT e.n, e.id, e.owner, e.text, e.about, e.source, e.importance, e.at, e.seen, coalesce(e.superseded_by, ''), e.same_about, v.vector
		FROM recall_entry e LEFT JOIN recall_vector v ON v.n = e.n AND v.embedder = ?
		WHERE e.n IN (SELECT value FROM json_each(?)) AND e.superseded_by IS NULL`, embedder, string(list))
	if err != nil {
		return nil, false, fmt.Errorf("read facts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		var blob []byte
		if err := r.scan(func(to ...any) error { return rows.Scan(append(to, &blob)...) }); err != nil {
			return nil, false, fmt.Errorf("read facts: %w", err)
		}
		if owner != "" && r.Owner != owner {
			others = true
			continue
		}
		c := places[r.n]
		c.row, c.vector = r, unpack(nil, blob)
		out = append(out, *c)
	}
	return out, others, rows.Err()
}

// ofUse counts that facts were found; it costs no commit of its own.
func (s *Service) ofUse(ns []int64) {
	if len(ns) == 0 {
		return
	}
	err := s.d.Store.WriteLazy(func(tx *sqlite.Tx) error {
		if err := tx.Overwrite(); err != nil { // a row that becomes longer moves, and its text would stay where it was
			return err
		}
		for _, n := range ns {
			if _, err := tx.Exec(`UPDATE recall_entry SET found = found + 1 WHERE n = ?`, n); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		s.d.Logger.Debug("what was found is not counted", "service", name, "err", err)
	}
}
