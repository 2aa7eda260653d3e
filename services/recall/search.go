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
	defaultHits  = 5
	leastDepth   = 15                      // candidates of each kind, at the least
	questionTime = 1500 * time.Millisecond // for the vector of a question; then words alone decide
	maxQuestion  = 2 << 10                 // bytes of a question that a vector is made of
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
	var words []int64
	var err error
	if cfg.WordsWeight > 0 {
		if words, err = s.byWords(ctx, q.Owner, q.Text, depth); err != nil {
			return out, err
		}
	}
	var near []index.Hit
	if cfg.VectorsWeight > 0 {
		near, out.Embedder = s.byVector(ctx, q.Owner, q.Text, depth)
	}
	all, err := s.candidates(ctx, q.Owner, words, near, out.Embedder)
	if err != nil {
		return out, err
	}
	cfg.rank(all, s.d.Now())
	var found []int64
	for _, c := range cfg.pick(all, q.Limit, q.MaxBytes) {
		out.Hits = append(out.Hits, bus.RecallHit{RecallEntry: c.RecallEntry, Score: c.score, By: c.by()})
		found = append(found, c.n)
	}
	s.found(found)
	return out, nil
}

// candidates reads the facts that were found.
func (s *Service) candidates(ctx context.Context, owner string, words []int64, near []index.Hit, embedder string) ([]candidate, error) {
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
		return nil, nil
	}
	list, err := json.Marshal(ns)
	if err != nil {
		return nil, fmt.Errorf("list facts: %w", err)
	}
	rows, err := s.d.Store.Query(ctx, `SELECT e.n, e.id, e.owner, e.text, e.about, e.source, e.importance, e.at, e.seen, coalesce(e.superseded_by, ''), e.same_about, v.vector
		FROM recall_entry e LEFT JOIN recall_vector v ON v.n = e.n AND v.embedder = ?
		WHERE e.n IN (SELECT value FROM json_each(?)) AND e.superseded_by IS NULL`, embedder, string(list))
	if err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	defer rows.Close()
	var out []candidate
	for rows.Next() {
		var r row
		var blob []byte
		if err := r.scan(func(to ...any) error { return rows.Scan(append(to, &blob)...) }); err != nil {
			return nil, fmt.Errorf("read facts: %w", err)
		}
		if owner != "" && r.Owner != owner {
			continue
		}
		c := places[r.n]
		c.row, c.vector = r, unpack(nil, blob)
		out = append(out, *c)
	}
	return out, rows.Err()
}

// found counts that facts were of use; it costs no commit of its own.
func (s *Service) found(ns []int64) {
	if len(ns) == 0 {
		return
	}
	err := s.d.Store.WriteLazy(func(tx *sqlite.Tx) error {
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

// byVector finds the facts whose vectors are near a question's, best first, and whose vectors those are; "" when there is
// none to compare with now, and words alone have to do.
func (s *Service) byVector(ctx context.Context, owner, text string, depth int) ([]index.Hit, string) {
	e := s.engine.get()
	if e == nil {
		return nil, ""
	}
	v := s.question(ctx, e, text)
	if v == nil {
		return nil, ""
	}
	x := s.shelf.await(ctx, e.Name(), fillWait)
	if x == nil {
		return nil, ""
	}
	hits := x.Search(nil, owner, v, depth)
	least := s.weights().MinSimilarity
	if least == 0 {
		least = e.least
	}
	for i, h := range hits {
		if float64(h.Score) < least {
			return hits[:i], e.Name()
		}
	}
	return hits, e.Name()
}

// question is the vector of a question, made or remembered; nil if it cannot be had in time.
func (s *Service) question(ctx context.Context, e *engaged, text string) []float32 {
	text = clip(text, maxQuestion)
	if v := s.cache.get(e.Name(), text); v != nil {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	vectors, err := e.Embed(ctx, []string{text})
	if err != nil {
		s.meter.failed.Inc()
		s.d.Logger.Debug("question is searched by its words alone", "service", name, "err", err)
		return nil
	}
	s.cache.put(e.Name(), text, vectors[0])
	return vectors[0]
}
