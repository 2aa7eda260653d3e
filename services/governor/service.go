// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
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
	Store   *sqlite.Store // with eventlog.Schema and Schema
	Events  *eventlog.Log // of the same store
	Logger  *slog.Logger
	Version string // of the program: its memory is compared with that of the same one
	// Baseline is a fixed weight, as of an embedding model, in bytes, and what of it no
	// file backs; nil: none.
	Baseline func() (all, anonymous int64)

	// What it reads and moves; the defaults are the machine's and the runtime's.
	Root        fs.FS             // holds proc and sys/fs/cgroup
	PageSize    int64             // unit of statm, in bytes
	Go          func() Go         // for one goroutine
	GoPercent   func(int) int     // sets by how much Go's heap may grow between two collections, in percent, and returns what it was before
	GoLimit     func(int64) int64 // sets Go's memory limit and returns the one before; negative: only that
	Free        func()            // collects garbage and returns memory to the system
	DropProgram func() error      // takes the program file's pages out of the resident set, and has fewer come back; for one goroutine
	Now         func() time.Time
	Every       time.Duration // between readings; default a second
}

func (d *Deps) defaults() {
	if d.Baseline == nil {
		d.Baseline = func() (int64, int64) { return 0, 0 }
	}
	if d.Root == nil {
		d.Root = os.DirFS("/")
	}
	if d.PageSize <= 0 {
		d.PageSize = int64(os.Getpagesize())
	}
	if d.Go == nil {
		d.Go = goReader()
	}
	if d.GoPercent == nil {
		d.GoPercent = debug.SetGCPercent
	}
	if d.GoLimit == nil {
		d.GoLimit = debug.SetMemoryLimit
	}
	if d.Free == nil {
		d.Free = giveBackMemory
	}
	if d.DropProgram == nil {
		d.DropProgram = (&programPages{root: d.Root}).drop
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Every <= 0 {
		d.Every = time.Second
	}
}

// Service is the governor.
type Service struct {
	deps       Deps
	cfg        Config
	thresholds atomic.Pointer[Config] // what of cfg may change: the percentages
	shedBytes  *prometheus.CounterVec
	wanted     chan string  // relief, at this level: normal in a pause
	full       chan hour    // of readings, to be stored
	kept       atomic.Int64 // hours on record
	takenUp    sync.Once    // what was said before the start

	// Of the reading loop alone.
	ticks   int // since the limits were read
	sensors *sensors
	levels  *levels
	back    *giveBack
	hours   hours
	warning string    // what was last logged as unreadable
	grows   int       // by how much Go's heap grows, in percent; 0: the owner has set GOGC
	goMost  int64     // no higher memory limit for Go: the one it had, as from GOMEMLIMIT
	goSet   int64     // the one it has
	shedAt  time.Time // when shedding was last asked for
	toldAt  time.Time // when the level was last said
	readAt  time.Time // when the process could last be read

	pagesStay string // why the program's last stayed, as was logged; of relieve alone

	mu       sync.Mutex
	conn     *bus.Conn
	reading  reading
	relieved bool   // memory was shed since the last reading
	said     string // the level that listeners to the event know, from before the start, too; "": that is not known
	saying   bool   // an event is being written
	unsaid   bool   // the last one could not be queued or written, and that was logged
}

// New makes the room. Its error is thresholds that Check would have refused.
func New(cfg Config, d Deps) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	d.defaults()
	s := &Service{deps: d, cfg: cfg, shedBytes: newShedBytes(), wanted: make(chan string, 1), full: make(chan hour, 1), said: bus.PressureNormal,
		sensors: newSensors(d.Root, d.PageSize), levels: cfg.levels(), back: newGiveBack()}
	s.thresholds.Store(&cfg)
	s.goMost = d.GoLimit(-1)
	s.goSet = s.goMost
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
		Says:    []bus.Lane{bus.MemoryPressure, bus.MemoryLevel, bus.MemoryShed},
		Metrics: []prometheus.Collector{gauges{s}, s.shedBytes},
		Health:  s.health,
		Probes:  Probes(s),
	}
}

// Run implements services.Service.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	s.takeUp(ctx)
	s.begin(c)
	defer s.end()
	s.step()
	ready()
	return services.Work(ctx, s.watch, s.relieve, s.remember)
}

func (s *Service) begin(c *bus.Conn) {
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	s.ticks, s.toldAt = 0, time.Time{} // the level is said anew
	if acts {
		s.growLess()
	}
}

func (s *Service) end() {
	s.sensors.close()
	s.growAsUsual()
	s.deps.GoLimit(s.goMost)
	s.goSet = s.goMost
}

func (s *Service) bus() *bus.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

func (s *Service) watch(ctx context.Context) error {
	tick := time.NewTicker(s.deps.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.step()
		case <-ctx.Done():
			return nil
		}
	}
}
