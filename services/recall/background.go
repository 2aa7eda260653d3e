// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	restShare = 3 // after its work the background rests so many times as long: a quarter of one core
	restMost  = 2 * time.Second
	failFirst = time.Second // after a batch that failed; doubles
	failMost  = time.Minute
	mergeHits = 4 // neighbours of a new vector that are looked at
	stubborn  = 3 // times that a batch failed: then it is looked whether it is for one of its texts
)

// work is one text on its way to a vector.
type work struct {
	row
	vector []float32
	into   int64 // the fact that says the same; 0: none
	again  bool  // another embedder has made one: it was compared then
}

// embed makes the vectors that are missing, a batch at a time, until ctx ends. What is done is in the database, so it goes
// on where an earlier run stopped.
func (s *Service) embed(ctx context.Context) error {
	e, after, wait, fails := s.engine.get(), int64(0), time.Duration(0), 0
	s.countPending(ctx, e.Name())
	for ctx.Err() == nil {
		began := time.Now()
		last, err := s.embedBatch(ctx, e, after, fails)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.meter.failed.Inc()
			if s.engine.trouble() == nil {
				s.d.Logger.Warn("vectors are not made; trying again", "service", name, "err", err)
			}
			s.engine.failed(err)
			s.countPending(ctx, e.Name()) // some may have gone meanwhile
			wait, fails = failing(wait, err), fails+1
			s.rest(ctx, wait)
			continue
		case last > after:
			s.engine.failed(nil)
			s.engine.measure()
			after, wait, fails = last, 0, 0
			s.rest(ctx, min(restShare*time.Since(began), restMost))
			continue
		}
		if s.pending.Load() != 0 { // some were forgotten meanwhile
			s.countPending(ctx, e.Name())
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	return nil
}

// failing is how long to wait after a failure.
func failing(before time.Duration, err error) time.Duration {
	wait := min(max(2*before, failFirst), failMost)
	if e := (*bus.Error)(nil); errors.As(err, &e) && e.RetryAfter > wait {
		return min(e.RetryAfter, 10*failMost)
	}
	return wait
}

func (s *Service) rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-s.d.After(d):
	case <-ctx.Done():
	}
}

// embedBatch makes the next vectors behind a number, and returns the last number that has one. It has failed so many times before.
func (s *Service) embedBatch(ctx context.Context, e *engaged, after int64, fails int) (last int64, err error) {
	batch, err := s.missing(ctx, e, after)
	if err != nil || len(batch) == 0 {
		return after, err
	}
	texts := make([]string, len(batch))
	for i := range batch {
		texts[i] = batch[i].Text
	}
	vectors, err := s.vectors(ctx, e, texts, fails)
	if err != nil {
		return after, err
	}
	for i := range batch {
		batch[i].vector = vectors[i]
	}
	if err := s.keepVectors(ctx, e, batch); err != nil {
		return after, err
	}
	s.pending.Add(-int64(len(batch)))
	return batch[len(batch)-1].n, nil
}

// missing reads the next facts that have no vector of this embedder.
func (s *Service) missing(ctx context.Context, e *engaged, after int64) ([]work, error) {
	rows, err := s.d.Store.Query(ctx, `SELECT `+columns+`, EXISTS (SELECT 1 FROM recall_vector v WHERE v.n = e.n) FROM recall_entry e
		WHERE n > ? AND superseded_by IS NULL AND NOT EXISTS (SELECT 1 FROM recall_vector v WHERE v.n = e.n AND v.embedder = ?) ORDER BY n LIMIT ?`, after, e.Name(), e.batch)
	if err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	defer rows.Close()
	var out []work
	for rows.Next() {
		var w work
		if err := w.scan(func(to ...any) error { return rows.Scan(append(to, &w.again)...) }); err != nil {
			return nil, fmt.Errorf("read facts: %w", err)
		}
		out = append(out, w)
	}
	return out, rows.Err()
}

// vectors embeds a batch. A text that an embedder refuses, or fails over each time, holds up none of the others, and is found
// by its words alone.
func (s *Service) vectors(ctx context.Context, e *engaged, texts []string, fails int) ([][]float32, error) {
	out, err := e.Embed(ctx, texts)
	if err == nil || !ofTexts(err, fails) {
		return out, err
	}
	if probe := e.Probe(ctx); probe != nil {
		return nil, err // it makes nothing of anything
	}
	if len(texts) == 1 {
		s.d.Logger.Warn("a fact has no vector: the embedder makes none of its text", "service", name, "err", err)
		return [][]float32{nil}, nil
	}
	out = out[:0]
	for i := range texts {
		one, err := s.vectors(ctx, e, texts[i:i+1], fails)
		if err != nil {
			return nil, err
		}
		out = append(out, one[0])
	}
	return out, nil
}

// ofTexts reports whether it may be for the texts that a batch fails. Of what looks like a server in trouble that is
// believed when it happens again and again.
func ofTexts(err error, fails int) bool {
	switch bus.CodeOf(err) {
	case bus.CodeInvalid, bus.CodeTooLarge, bus.CodeInternal:
		return true
	case bus.CodeUnavailable:
		return fails >= stubborn
	}
	return false
}

// keepVectors stores vectors of facts that are still there, and merges those that say what others have said.
func (s *Service) keepVectors(ctx context.Context, e *engaged, batch []work) error {
	s.pair(ctx, e, batch)
	s.shelf.mu.Lock()
	defer s.shelf.mu.Unlock()
	var kept []int
	var gone []int64
	err := s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		kept, gone = nil, nil
		if err := tx.Overwrite(); err != nil {
			return err
		}
		for i := range batch {
			w := &batch[i]
			merged, err := s.mergeInto(tx, w)
			if err != nil {
				return err
			}
			if merged {
				gone = append(gone, w.n)
				continue
			}
			res, err := tx.Exec(`INSERT OR REPLACE INTO recall_vector (n, embedder, vector)
				SELECT n, ?, ? FROM recall_entry WHERE n = ? AND superseded_by IS NULL`, e.Name(), pack(w.vector), w.n)
			if err != nil {
				return fmt.Errorf("store vector: %w", err)
			}
			if n, err := res.RowsAffected(); err == nil && n > 0 {
				kept = append(kept, i)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.meter.embedded.Add(float64(len(kept)))
	for _, n := range gone {
		s.shelf.x.Delete(n)
	}
	for _, i := range kept {
		w := &batch[i]
		if len(pack(w.vector)) == 0 {
			continue
		}
		if err := s.shelf.put(w.Owner, w.n, w.vector); err != nil {
			return err
		}
	}
	return nil
}

// pair finds for each new vector a fact of the same owner that says the same: in the index, and in the batch itself.
func (s *Service) pair(ctx context.Context, e *engaged, batch []work) {
	least := s.weights().MergeSimilarity
	if least >= 1 {
		return
	}
	x := s.shelf.await(ctx, e.Name(), 8*fillWait)
	for i := range batch {
		w := &batch[i]
		if w.again {
			continue
		}
		own := marks(w.Text)
		same := func(text string) bool {
			return slices.Equal(marks(text), own) && (e.alike == nil || e.alike(text, w.Text) >= least)
		}
		for j := range i {
			o := &batch[j]
			if o.into == 0 && o.Owner == w.Owner && len(o.vector) == len(w.vector) && dot(o.vector, w.vector) >= least && same(o.Text) {
				w.into = o.n
				break
			}
		}
		if x == nil || w.into != 0 || len(w.vector) == 0 {
			continue
		}
		hits, err := s.nearest(ctx, x, w.Owner, w.vector, mergeHits, e.Name())
		if err != nil {
			continue // they stay two
		}
		for _, h := range hits {
			if float64(h.Score) >= least && h.ID != w.n && s.says(ctx, h.ID, same) {
				w.into = h.ID
				break
			}
		}
	}
}

// says reports whether a fact still holds, and says the same.
func (s *Service) says(ctx context.Context, n int64, same func(text string) bool) bool {
	var text string
	err := s.d.Store.QueryRow(ctx, `SELECT text FROM recall_entry WHERE n = ? AND superseded_by IS NULL`, n).Scan(&text)
	return err == nil && same(text)
}

// mergeInto makes one of two facts, if both are still there and about the same: the older one stays.
func (s *Service) mergeInto(tx *sqlite.Tx, w *work) (bool, error) {
	if w.into == 0 {
		return false, nil
	}
	older, err := rowWhere(tx, `n = ? AND superseded_by IS NULL`, w.into)
	if older == nil || err != nil {
		return false, err
	}
	newer, err := rowWhere(tx, `n = ? AND superseded_by IS NULL`, w.n)
	if newer == nil || err != nil || !compatible(older.sameAbout, newer.sameAbout) || older.n > newer.n {
		return false, err
	}
	if _, err := tx.Exec(`UPDATE recall_entry SET superseded_by = ? WHERE superseded_by = ?`, older.ID, newer.ID); err != nil {
		return false, fmt.Errorf("merge facts: %w", err)
	}
	if _, err := tx.Exec(`UPDATE recall_call SET n = ? WHERE n = ?`, older.n, newer.n); err != nil {
		return false, fmt.Errorf("merge facts: %w", err)
	}
	if err := newer.remove(tx); err != nil {
		return false, err
	}
	if err := older.merge(tx, newer.RecallEntry, newer.ID); err != nil {
		return false, err
	}
	return true, s.told(tx, older, true)
}

// countPending notes how many vectors are to be made. In between facts that come and go are counted.
func (s *Service) countPending(ctx context.Context, embedder string) {
	before, n := s.pending.Load(), int64(0)
	err := s.d.Store.QueryRow(ctx, `SELECT (SELECT entries FROM recall_state) - (SELECT count(*) FROM recall_vector WHERE embedder = ?)`, embedder).Scan(&n)
	if err != nil {
		if ctx.Err() == nil {
			s.d.Logger.Warn("vectors are not counted", "service", name, "err", err)
		}
		return
	}
	s.pending.CompareAndSwap(before, n)
}
