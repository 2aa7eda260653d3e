// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
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

// limitsEvery is after how many readings the control group's limits are read
// again: about a minute.
const limitsEvery = 60

// Deps are what the room works with.
type Deps struct {
	Store    *sqlite.Store // with eventlog.Schema
	Events   *eventlog.Log // of the same store
	Logger   *slog.Logger
	Root     fs.FS            // holds proc and sys/fs/cgroup; default the machine's
	Heap     func() int64     // bytes on the Go heap; default the runtime's figure
	Now      func() time.Time // default time.Now
	Every    time.Duration    // between readings; default a second
	PageSize int64            // unit of statm, in bytes; default the machine's
}

// Service is the governor.
type Service struct {
	deps       Deps
	cfg        Config
	thresholds atomic.Pointer[Config] // what of cfg may change: the percentages

	// Of the reading loop alone.
	ticks   int // since the limits were read
	back    *giveBack
	warning string // what was last logged as unreadable

	mu      sync.Mutex
	reading reading
	said    string // the level that listeners know
	saying  bool   // an event is being written
	unsaid  bool   // the last one could not be queued or written, and that was logged
}

// reading is what one look at the process brought.
type reading struct {
	bus.Memory
	err      error // the resident set is not known: Memory is the last that was
	limitErr error // the control group's limit is not known
}

// New makes the room. Its error is thresholds that Check would have refused.
func New(cfg Config, d Deps) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if d.Root == nil {
		d.Root = os.DirFS("/")
	}
	if d.Heap == nil {
		d.Heap = heapReader()
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Every <= 0 {
		d.Every = time.Second
	}
	if d.PageSize <= 0 {
		d.PageSize = int64(os.Getpagesize())
	}
	s := &Service{deps: d, cfg: cfg, said: bus.PressureNormal, back: newGiveBack()}
	s.thresholds.Store(&cfg)
	s.reading = reading{Memory: bus.Memory{Limit: cfg.limit(), Pressure: bus.PressureNormal}, err: errUnread}
	return s, nil
}

// Reconfigure prepares to go on with other percentages; take does it, with the next
// reading.
func (s *Service) Reconfigure(cfg Config) (take func(), err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return func() { s.thresholds.Store(&cfg) }, nil
}

// errUnread stands until the first reading.
var errUnread = errors.New("not read yet")

// Door implements services.Service.
func (s *Service) Door() services.Door {
	return services.Door{
		Name:    "governor",
		Hears:   []bus.Handler{bus.MemoryRead.Answer(s.answer)},
		Says:    []bus.Lane{bus.MemoryPressure},
		Metrics: []prometheus.Collector{gauges{s}},
		Health:  s.health,
		Probes:  Probes(s),
	}
}

// Run implements services.Service.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	s.ticks = 0
	s.step()
	ready()
	tick := time.NewTicker(s.deps.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.step()
			if s.back.due() {
				if err := freeMemory(ctx, s.deps.Store); err != nil && ctx.Err() == nil {
					s.deps.Logger.Warn("give memory back", "service", "governor", "err", err)
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// step takes one reading and says what has changed.
func (s *Service) step() {
	before := s.last()
	next := before
	if s.ticks == 0 {
		limit, err := cgroupLimit(s.deps.Root)
		next.Limit, next.limitErr = lower(s.cfg.limit(), limit), err
	}
	s.ticks = (s.ticks + 1) % limitsEvery
	next.Heap = s.deps.Heap()
	var rss int64
	if rss, next.err = s.readRSS(); next.err == nil {
		next.RSS = rss
		next.Pressure = s.thresholds.Load().levelAfter(before.Pressure, next.Memory)
	}
	s.mu.Lock()
	s.reading = next
	s.mu.Unlock()
	s.logTrouble(next)
	if next.Pressure != before.Pressure {
		s.logChange(before.Pressure, next.Memory)
	}
	s.say()
}

func (s *Service) readRSS() (int64, error) {
	content, err := fs.ReadFile(s.deps.Root, statmFile)
	if err != nil {
		return 0, fmt.Errorf("read resident set: %w", err)
	}
	return parseStatm(content, s.deps.PageSize)
}

func (s *Service) last() reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reading
}

// logTrouble logs what cannot be read once, not every second.
func (s *Service) logTrouble(r reading) {
	warning := ""
	for _, err := range []error{r.err, r.limitErr} {
		if err != nil {
			warning += err.Error()
		}
	}
	if warning != s.warning && warning != "" {
		s.deps.Logger.Warn("memory not readable", "service", "governor", "err", warning)
	}
	s.warning = warning
}

func (s *Service) logChange(from string, m bus.Memory) {
	log := s.deps.Logger.Warn
	if m.Pressure == bus.PressureNormal {
		log = s.deps.Logger.Info
	}
	log("memory pressure changed", "service", "governor",
		"from", from, "to", m.Pressure, "rss_bytes", m.RSS, "limit_bytes", m.Limit, "heap_bytes", m.Heap)
}

// say records the level that listeners do not know yet. It does not wait for the
// disk, which would hold up the readings; what could not be written is said with
// a later reading.
func (s *Service) say() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.saying || s.reading.Pressure == s.said {
		return
	}
	fact := bus.MemoryFact{Time: s.deps.Now(), From: s.said, Memory: s.reading.Memory}
	err := s.deps.Store.WriteLazy(func(tx *sqlite.Tx) error {
		return eventlog.Record(s.deps.Events, tx, bus.MemoryPressure, fact)
	}, func(err error) { s.recorded(fact.Pressure, err) })
	if s.saying = err == nil; err != nil {
		s.logUnsaid(err)
	}
}

// recorded hears, on the database's goroutine, what became of an event.
func (s *Service) recorded(level string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saying = false
	if err != nil {
		s.logUnsaid(err)
		return
	}
	s.said, s.unsaid = level, false
}

// logUnsaid logs the first of a row of failures to write an event.
func (s *Service) logUnsaid(err error) {
	if !s.unsaid {
		s.deps.Logger.Warn("memory pressure event not written; trying with each reading", "service", "governor", "err", err)
	}
	s.unsaid = true
}

// answer answers gov.read.
func (s *Service) answer(context.Context, bus.MemoryQuery) (bus.Memory, error) {
	r := s.last()
	if r.err != nil {
		return bus.Memory{}, bus.Errorf(bus.CodeUnavailable, "the memory of the process is not known: %v", r.err)
	}
	return r.Memory, nil
}

// health tells of memory about to run out, and of what cannot be read.
func (s *Service) health() []bus.Problem {
	r := s.last()
	var problems []bus.Problem
	if r.err != nil {
		problems = append(problems, bus.Problem{Code: "memory_unreadable",
			Title: fmt.Sprintf("the memory of the process is not known: %v", r.err),
			Hint:  "mount /proc where blufio runs"})
	}
	if r.limitErr != nil {
		problems = append(problems, bus.Problem{Code: "memory_limit_unreadable",
			Title: fmt.Sprintf("the control group's memory limit is not known: %v", r.limitErr),
			Hint:  "limit_mb in [memory] holds meanwhile; make /sys/fs/cgroup readable"})
	}
	if r.err == nil && r.Pressure == bus.PressureCritical {
		problems = append(problems, bus.Problem{Code: "memory_critical",
			Title: fmt.Sprintf("memory is about to run out: %d of %d MiB", r.RSS>>20, r.Limit>>20),
			Hint:  "raise limit_mb in [memory] or the control group's limit, or give blufio less to do"})
	}
	return problems
}
