// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/recall/embed/bert"
	"github.com/blufio/blufio/services/recall/embed/remote"
	"github.com/blufio/blufio/services/recall/embed/static"
)

// embedder makes vectors; see the package embed.
type embedder interface {
	Embed(ctx context.Context, texts []string) ([][]float32, error)
	Probe(ctx context.Context) error
	Name() string
	Dim() int
	Baseline() (all, anonymous int64)
	Shed() (int64, error)
	Close() error
}

// engaged is an embedder that works, and how it is used.
type engaged struct {
	embedder
	kind  string
	least float64                   // how near a vector is at the least that has to do with a question
	batch int                       // texts at once in the background
	alike func(a, b string) float64 // how much two texts say the same, where near vectors do not tell; may be nil
}

const (
	openAgain  = time.Minute      // between two tries to open an embedder
	openTime   = 30 * time.Second // for one
	modelWords = 256              // pieces of words of a text that a model reads
	baselineMB = 4                // the baseline is told in steps: history begins anew with another one
)

// open makes the embedder that is configured. That it makes vectors is seen before it counts.
func (c Config) open(ctx context.Context, d Deps, m *meter) (*engaged, error) {
	var e *engaged
	switch {
	case c.ModelDir != "":
		m, err := bert.Open(c.ModelDir, bert.Options{MaxTokens: modelWords})
		if err != nil {
			return nil, err
		}
		e = &engaged{embedder: m, kind: bus.RecallLocal, least: 0.3, batch: 8}
	case c.Server.On():
		r, err := remote.New(c.Server, remote.Deps{UserAgent: d.UserAgent, Now: d.Now, Used: func(tokens int) { m.tokens.Add(float64(tokens)) }})
		if err != nil {
			return nil, err
		}
		e = &engaged{embedder: r, kind: bus.RecallServer, least: 0.25, batch: c.Server.Batch}
	default:
		return &engaged{embedder: static.New(), kind: bus.RecallBuiltIn, least: 0.1, batch: 64, alike: static.Alike}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	if err := e.Probe(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// engine is the embedder in use, if there is one, or why there is none.
type engine struct {
	baseline, anonymous atomic.Int64

	mu  sync.Mutex
	now *engaged
	err error // of opening it, or of the last batch
}

func (e *engine) get() *engaged {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

func (e *engine) set(now *engaged) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now, e.err = now, nil
}

func (e *engine) trouble() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

func (e *engine) failed(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

// measure notes what the embedder weighs: the most that it was seen to, for what it sheds comes back.
func (e *engine) measure() {
	now := e.get()
	if now == nil {
		return
	}
	const step = baselineMB << 20
	all, anonymous := now.Baseline()
	e.baseline.Store(max((all+step-1)/step*step, e.baseline.Load()))
	e.anonymous.Store(max(anonymous, e.anonymous.Load()))
}

// Baseline is the fixed weight of the embedder, in bytes, as measured, and what of it no file backs: what the governor's
// thresholds leave out.
func (s *Service) Baseline() (all, anonymous int64) {
	anonymous = s.engine.anonymous.Load() // first: it is never more than all
	return s.engine.baseline.Load(), anonymous
}

// engage opens the embedder, trying again for as long as it does not work, and then makes vectors.
func (s *Service) engage(ctx context.Context) error {
	if !s.cfg.Enable {
		<-ctx.Done()
		return nil
	}
	for s.engine.get() == nil {
		e, err := s.cfg.open(ctx, s.d, s.meter)
		if ctx.Err() != nil {
			return closed(e)
		}
		if err == nil {
			s.use(e)
			break
		}
		s.engine.failed(err)
		s.d.Logger.Warn("the embedder does not work; facts are found by their words", "service", name, "err", err)
		select {
		case <-s.d.After(openAgain):
		case <-ctx.Done():
			return nil
		}
	}
	return s.embed(ctx)
}

// use begins with an embedder. What other embedders have left is made again.
func (s *Service) use(e *engaged) {
	s.shelf.begin(e.Name(), e.Dim())
	s.cache.reset()
	s.engine.set(e)
	s.engine.measure()
}

// disengage closes the embedder.
func (s *Service) disengage() error {
	e := s.engine.get()
	s.engine.set(nil)
	return closed(e)
}

func closed(e *engaged) error {
	if e == nil {
		return nil
	}
	if err := e.Close(); err != nil {
		return fmt.Errorf("close embedder: %w", err)
	}
	return nil
}
