// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/clip"
	"github.com/blufio/blufio/services/recall/index"
)

const (
	questionTime = 1500 * time.Millisecond // for the vectors; then words alone decide
	maxQuestion  = 2 << 10                 // bytes of a question that a vector is made of
	preciseBits  = 7                       // of an index whose order is as good as that of the vectors
	mostRough    = 400                     // vectors that are read where it is not
)

// byVector finds the facts whose vectors are near a question's, best first, and whose vectors those are; "" when there is
// none to compare with now, and words alone have to do.
func (s *Service) byVector(ctx context.Context, owner, text string, depth int) ([]index.Hit, string) {
	e := s.engine.get()
	if e == nil {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, vectorTime(ctx))
	defer cancel()
	v := s.question(ctx, e, text)
	if v == nil {
		return nil, ""
	}
	x := s.shelf.await(ctx, e.Name(), fillWait)
	if x == nil {
		return nil, ""
	}
	hits, err := s.nearest(ctx, x, owner, v, depth, e.Name())
	if err != nil {
		s.d.Logger.Debug("question is searched by its words alone", "service", name, "err", err)
		return nil, ""
	}
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

// vectorTime is how long the vectors may take: who asks waits for so long only, and has the words from the rest of it.
func vectorTime(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(time.Until(deadline)*2/3, questionTime)
	}
	return questionTime
}

// nearest finds the facts nearest to a question. From an index that has given up much of their precision it takes more than are
// wanted, and compares the vectors themselves.
func (s *Service) nearest(ctx context.Context, x *index.Index, owner string, question []float32, k int, embedder string) ([]index.Hit, error) {
	bits := x.Bits()
	if bits >= preciseBits {
		return x.Search(nil, owner, question, k), nil
	}
	rough := x.Search(nil, owner, question, min(k<<((preciseBits-bits+1)/2), mostRough))
	list, err := json.Marshal(slices.Collect(func(yield func(int64) bool) {
		for _, h := range rough {
			if !yield(h.ID) {
				return
			}
		}
	}))
	if err != nil {
		return nil, fmt.Errorf("list vectors: %w", err)
	}
	rows, err := s.d.Store.Query(ctx, `SELECT n, vector FROM recall_vector WHERE n IN (SELECT value FROM json_each(?)) AND embedder = ?`, string(list), embedder)
	if err != nil {
		return nil, fmt.Errorf("read vectors: %w", err)
	}
	defer rows.Close()
	hits, vector := rough[:0], []float32(nil)
	for rows.Next() {
		var h index.Hit
		var blob []byte
		if err := rows.Scan(&h.ID, &blob); err != nil {
			return nil, fmt.Errorf("read vectors: %w", err)
		}
		if vector = unpack(vector, blob); len(vector) == len(question) {
			h.Score = float32(dot(question, vector))
			hits = append(hits, h)
		}
	}
	slices.SortFunc(hits, func(a, b index.Hit) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.ID, b.ID)) })
	return hits[:min(len(hits), k)], rows.Err()
}

// question is the vector of a question, made or remembered; nil if it cannot be had in time. The built-in embedder makes
// one as fast as it would be found.
func (s *Service) question(ctx context.Context, e *engaged, text string) []float32 {
	text = clip.Bytes(text, maxQuestion)
	remembered := e.kind != bus.RecallBuiltIn
	if remembered {
		if v := s.cache.get(e.Name(), text); v != nil {
			return v
		}
	}
	vectors, err := e.Embed(ctx, []string{text})
	if err != nil {
		s.meter.failed.Inc()
		s.d.Logger.Debug("question is searched by its words alone", "service", name, "err", err)
		return nil
	}
	if remembered {
		s.cache.put(e.Name(), text, vectors[0])
	}
	return vectors[0]
}
