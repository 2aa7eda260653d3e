// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/prometheus/client_golang/prometheus"
)

var _ services.Service = (*Service)(nil)

// workers is how many reservations, and how many settlements, wait for the
// database at once: they share its commits.
const workers = 64

// Deps are what the room works with.
type Deps struct {
	Store    *sqlite.Store // with Schema and eventlog.Schema
	Events   *eventlog.Log // of the same store
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now
	Location *time.Location   // of the owner's calendar; default time.Local
	Models   []string         // that are configured, for metrics
}

// Service is the ledger. One Service stands for one boot of the daemon, however
// often the room is restarted in it.
type Service struct {
	store    *sqlite.Store
	events   *eventlog.Log
	log      *slog.Logger
	now      func() time.Time
	location *time.Location
	boot     string
	terms    atomic.Pointer[terms]
	keep     int // days of ledger
	meter    *meter

	mu       sync.Mutex
	latest   *books          // of the last commit; nil before the first Run
	unpriced map[string]bool // models whose calls could not be booked, at most maxUnpriced
}

// New makes the room. Its error is a configuration that Check or Validate would
// have refused.
func New(cfg Config, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Location == nil {
		d.Location = time.Local
	}
	s := &Service{
		store: d.Store, events: d.Events, log: d.Logger, now: d.Now, location: d.Location,
		boot: rand.Text(), keep: cfg.LedgerDays, meter: newMeter(), unpriced: make(map[string]bool),
	}
	s.meter.prime(d.Models)
	t, err := cfg.terms()
	if err != nil {
		return nil, err
	}
	s.terms.Store(t)
	if s.keep < 1 {
		return nil, fmt.Errorf("read cost.ledger_days: must be at least 1, not %d", s.keep)
	}
	return s, nil
}

// terms is what may change while the room runs.
type terms struct {
	rates          rates
	daily, monthly bus.MicroUSD // limits; 0: none
}

func (c Config) terms() (*terms, error) {
	t := &terms{}
	var err error
	if t.rates, err = newRates(c.Prices); err != nil {
		return nil, err
	}
	if t.daily, err = micro(c.DailyUSD, maxLimitUSD); err != nil {
		return nil, fmt.Errorf("read cost.daily_usd: %w", err)
	}
	if t.monthly, err = micro(c.MonthlyUSD, maxLimitUSD); err != nil {
		return nil, fmt.Errorf("read cost.monthly_usd: %w", err)
	}
	return t, nil
}

// Reconfigure prepares to go on with other limits and prices; take does it, for every
// reservation that is decided from then on. What is spent and reserved stays.
func (s *Service) Reconfigure(cfg Config) (take func(), err error) {
	t, err := cfg.terms()
	if err != nil {
		return nil, err
	}
	return func() {
		s.terms.Store(t)
		s.mu.Lock()
		defer s.mu.Unlock()
		clear(s.unpriced) // said again where it is still so
	}, nil
}

// Door implements services.Service.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: "cost",
		Hears: []bus.Handler{
			bus.CostReserve.Answer(s.reserve).Workers(workers),
			bus.CostSettle.Answer(s.settle).Workers(workers),
			bus.CostGet.Answer(s.get),
			bus.SpendingSet.Answer(s.set),
		},
		Says:    []bus.Lane{bus.CostRecorded, bus.BudgetWarned, bus.BudgetExhausted, bus.SpendingChanged},
		Metrics: []prometheus.Collector{s.meter.usd, s.meter.tokens, s.meter.refusals, s.meter.released, gauges{s}},
		Health:  s.health,
		Probes:  Probes(s),
	}
}

// sweepEvery is how often old rows are looked for.
const sweepEvery = time.Hour

// Run implements services.Service.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	if err := s.open(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ready()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("ledger not swept; next try in an hour", "service", "cost", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// open releases what an earlier boot left reserved and reads the totals.
func (s *Service) open(ctx context.Context) error {
	return s.write(ctx, func(tx *sqlite.Tx) error {
		if err := s.release(tx, `boot <> ?`, s.boot); err != nil {
			return err
		}
		return s.refresh(tx)
	})
}

// release deletes the reservations that where matches, and counts them.
func (s *Service) release(tx *sqlite.Tx, where string, arg any) error {
	res, err := tx.Exec(`DELETE FROM cost_reservation WHERE `+where, arg)
	if err != nil {
		return fmt.Errorf("release reservations: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("release reservations: %w", err)
	}
	if n > 0 {
		tx.AfterCommit(func() {
			s.meter.released.Add(float64(n))
			s.log.Info("released reservations of calls that were never settled", "service", "cost", "count", n)
		})
	}
	return nil
}

func (s *Service) refresh(tx *sqlite.Tx) error {
	b, err := s.read(s.clock(), tx.QueryRow)
	if err != nil {
		return err
	}
	s.publishBooks(tx, b)
	return nil
}

// clock is now in the owner's calendar.
func (s *Service) clock() time.Time { return s.now().In(s.location) }

// publishBooks makes b what health and gauges tell, once tx is committed.
func (s *Service) publishBooks(tx *sqlite.Tx, b books) {
	tx.AfterCommit(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.latest = &b
	})
}

// current returns the books as of now, false before the room has started.
func (s *Service) current() (books, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil {
		return books{}, false
	}
	b, t := *s.latest, s.terms.Load()
	b.day.limit, b.month.limit = t.daily, t.monthly
	return b.at(s.clock()), true
}

// write runs fn in a transaction and gives the store's own troubles a code.
func (s *Service) write(ctx context.Context, fn func(*sqlite.Tx) error) error {
	err := s.store.Write(ctx, fn)
	switch {
	case errors.Is(err, sqlite.ErrBusy):
		e := bus.Errorf(bus.CodeBusy, "the ledger is busy")
		e.RetryAfter = time.Second
		return e
	case errors.Is(err, sqlite.ErrFull):
		return bus.Errorf(bus.CodeUnavailable, "the ledger cannot be written: the disk is full").WithHint("make room on the disk")
	case errors.Is(err, sqlite.ErrClosed):
		return bus.Errorf(bus.CodeUnavailable, "the ledger is closed")
	}
	return err
}

// maxUnpriced bounds the models remembered for health.
const maxUnpriced = 8

func (s *Service) noteUnpriced(model string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unpriced) < maxUnpriced {
		s.unpriced[model] = true
	}
}

// health tells why calls are refused or cannot be booked.
func (s *Service) health() []bus.Problem {
	b, ok := s.current()
	if !ok {
		return nil
	}
	var problems []bus.Problem
	if b.stopped {
		title := "spending is stopped: only free models are called"
		if b.reason != "" {
			title += " (" + b.reason + ")"
		}
		problems = append(problems, bus.Problem{Code: "spending_stopped", Title: title, Hint: "to resume: blufio cost resume"})
	}
	for _, a := range []account{b.day, b.month} {
		if a.limit > 0 && (a.spent >= a.limit || a.exhausted >= a.limit) {
			problems = append(problems, bus.Problem{Code: "budget_exhausted",
				Title: fmt.Sprintf("the %s budget is exhausted: %v of %v is spent, until %s", a.adjective(), a.spent, a.limit, a.ends.Format("2006-01-02 15:04 MST")),
				Hint:  fmt.Sprintf("raise cost.%s_usd, or wait", a.adjective())})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, model := range slices.Sorted(maps.Keys(s.unpriced)) {
		problems = append(problems, bus.Problem{Code: "price_unknown",
			Title: fmt.Sprintf("calls of model %q wait to be booked: its price is not known", model),
			Hint:  fmt.Sprintf("set %s in the configuration, then `blufio config reload`", table(model))})
	}
	return problems
}
