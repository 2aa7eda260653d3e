// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

var _ services.Service = (*Service)(nil)

const (
	name       = "recall"
	cleanFirst = time.Second // between tries to empty the write-ahead log; doubles
	cleanMost  = time.Minute
	sweepEvery = time.Hour // old calls, and what a lowered bound leaves too many
	callsFor   = 30 * 24 * time.Hour
)

// Deps are what the room works with.
type Deps struct {
	Store     *sqlite.Store // with Schema and eventlog.Schema
	Events    *eventlog.Log // of the same store
	Logger    *slog.Logger
	UserAgent string                               // told to a server; default "blufio"
	Now       func() time.Time                     // default time.Now
	After     func(time.Duration) <-chan time.Time // measures rests of the background; default time.After
}

// Service is the room.
type Service struct {
	d       Deps
	cfg     Config
	live    atomic.Pointer[Config] // what of cfg may change: the weights
	engine  engine
	shelf   *shelf
	cache   *cache
	meter   *meter
	forgets int           // of an owner, in one call
	rows    atomic.Int64  // facts, as last counted
	pending atomic.Int64  // vectors that are to be made
	wake    chan struct{} // there are some
	dirty   chan struct{} // something was forgotten
}

// New makes the room. Its error is a configuration that Check would have refused.
func New(cfg Config, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.After == nil {
		d.After = time.After
	}
	if cfg.MaxEntries < 1 || cfg.IndexMB < 1 {
		return nil, fmt.Errorf("read recall bounds: max_entries %d, index_mb %d", cfg.MaxEntries, cfg.IndexMB)
	}
	s := &Service{d: d, cfg: cfg, shelf: newShelf(int64(cfg.IndexMB) << 20), cache: newCache(queryCacheBytes), meter: newMeter(), forgets: forgetMost,
		wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1)}
	s.live.Store(&cfg)
	return s, nil
}

// Reconfigure prepares to go on with other weights; take does it, with the next search.
func (s *Service) Reconfigure(cfg Config) (take func(), err error) {
	return func() { s.live.Store(&cfg) }, nil
}

func (s *Service) weights() *Config { return s.live.Load() }

// Door implements services.Service.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: name,
		Hears: []bus.Handler{
			bus.RecallSearch.Answer(s.search).Workers(2).Queue(64),
			bus.RecallKeep.Answer(s.add).Workers(8).Queue(256),
			bus.RecallList.Answer(s.list).Workers(1),
			bus.RecallDrop.Answer(s.forget).Workers(1),
			bus.RecallImport.Answer(s.take).Workers(1),
			bus.RecallGet.Answer(s.status).Workers(1),
			bus.MemoryShed.To(name).Answer(s.shed).Workers(1),
		},
		Says:    []bus.Lane{bus.FactAdded, bus.FactSuperseded, bus.FactForgotten, bus.FactEvicted},
		Metrics: s.metrics(),
		Health:  s.health,
		Probes:  Probes(s),
	}
}

// Run implements services.Service. A model is opened beside the answers: until it is there, words alone are searched.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	if s.cfg.Enable && s.cfg.ModelDir == "" && !s.cfg.Server.On() {
		e, err := s.cfg.open(ctx, s.d, s.meter) // the built-in one, which takes no time
		if err != nil {
			return err
		}
		s.use(e)
	}
	s.cleanSoon() // a stop may have come in between
	ready()
	err := services.Work(ctx, s.engage, s.fill, s.clean, s.sweep)
	return errors.Join(err, s.disengage())
}

// sweep forgets calls that nobody makes again, and evicts what is too much after the bound was lowered.
func (s *Service) sweep(ctx context.Context) error {
	for {
		for more := true; more && ctx.Err() == nil; {
			before, after, err := s.sweepOnce(ctx)
			if err != nil && ctx.Err() == nil {
				s.d.Logger.Warn("facts are not swept; next try in an hour", "service", name, "err", err)
			}
			more = err == nil && after < before
		}
		select {
		case <-s.d.After(sweepEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) sweepOnce(ctx context.Context) (before, after int64, err error) {
	err = s.write(ctx, func(tx *sqlite.Tx, c *changed) error {
		if _, err := tx.Exec(`DELETE FROM recall_call WHERE at < ?`, s.d.Now().Add(-callsFor).UnixMilli()); err != nil {
			return fmt.Errorf("forget old calls: %w", err)
		}
		now := s.d.Now() // a time that is still to come is of a clock that was wrong
		if _, err := tx.Exec(`DELETE FROM recall_forgotten WHERE at < ? OR at > ?`, now.Add(-callsFor), now.Add(sweepEvery)); err != nil {
			return fmt.Errorf("forget old times: %w", err)
		}
		entries, history, err := count(tx.QueryRow)
		if err != nil {
			return err
		}
		s.rows.Store(entries + history)
		if err := s.evict(tx, c, 0); err != nil {
			return err
		}
		before, after = entries+history, entries+history-int64(len(c.gone))
		return nil
	})
	return before, after, err
}

// write changes facts in a transaction that leaves nothing of what it deletes, then what of them is in memory.
func (s *Service) write(ctx context.Context, fn func(*sqlite.Tx, *changed) error) error {
	var c changed
	err := s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		c = changed{}
		if err := tx.Overwrite(); err != nil {
			return err
		}
		return fn(tx, &c)
	})
	switch {
	case err == nil:
		s.after(c)
		return nil
	case errors.Is(err, sqlite.ErrBusy):
		e := bus.Errorf(bus.CodeBusy, "the database is busy")
		e.RetryAfter = time.Second
		return e
	case errors.Is(err, sqlite.ErrFull):
		return bus.Errorf(bus.CodeUnavailable, "nothing can be remembered: the disk is full").WithHint("make room on the disk")
	}
	return err
}

// after follows a transaction in memory.
func (s *Service) after(c changed) {
	s.shelf.drop(c.gone)
	if c.new > 0 {
		s.pending.Add(int64(c.new))
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// count reads how many facts there are.
func count(query func(string, ...any) *sql.Row) (entries, history int64, err error) {
	if err = query(`SELECT entries, history FROM recall_state`).Scan(&entries, &history); err != nil {
		err = fmt.Errorf("count facts: %w", err)
	}
	return entries, history, err
}
