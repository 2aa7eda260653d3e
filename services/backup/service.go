// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/backup/restore"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/nats-io/nuid"
)

// Name is the room's.
const Name = "backup"

// Deps is what the room works with.
type Deps struct {
	Source  Source // its Copy and Now are the room's
	Store   *sqlite.Store
	Events  *eventlog.Log
	Started time.Time
	Logger  *slog.Logger
	Now     func() time.Time
	// Drill starts a second daemon on an archive and says what is wrong with that; nil:
	// nobody can.
	Drill func(ctx context.Context, path string) error
	// Before is asked before each backup; with an error none is made. After hears what
	// became of it. Both may be nil.
	Before func(ctx context.Context, id string) error
	After  func(ctx context.Context, run bus.BackupRun)
	Loc    *time.Location           // whose days count for what is kept; default the machine's
	Redact func(text string) string // takes secrets out of what programs said; nil: there are none
}

// bounds are what tests make smaller.
type bounds struct {
	tick     time.Duration // between two looks at the clock
	patience time.Duration // without a question for the next piece
	keeping  time.Duration // behind the last one, which the reader now brings to its disk
	wait     time.Duration // for news, before a question is answered without any
}

// Service is the room.
type Service struct {
	d      Deps
	cfg    Config
	bounds bounds
	meters meters

	conn    atomic.Pointer[bus.Conn]
	asked   chan *stream // for the loop that makes backups; there is at most one
	follows chan follow  // for the loop that does what follows

	cramped bool // the last drill that was due was put off; of the drilling goroutine alone

	mu      sync.Mutex
	running *running // holds the one place
	stream  *stream  // that is read
	history history
	course  course
	files   int                // in the directory, when it was last looked at
	kept    []restore.Replaced // what restores have replaced, when it was last looked at
	looked  time.Time          // at that
}

// running is a backup under way.
type running struct {
	step  bus.BackupStep
	began time.Time
	told  bus.BackupStep // in an event
}

var _ services.Service = (*Service)(nil)

// slowest is how long a reader on a busy machine may take for one step, also where a kill
// test is in haste.
const slowest = 5 * time.Second

// New returns the room.
func New(cfg Config, d Deps) (*Service, error) {
	if d.Loc == nil {
		d.Loc = time.Local
	}
	if d.Before == nil {
		d.Before = func(context.Context, string) error { return nil }
	}
	if d.After == nil {
		d.After = func(context.Context, bus.BackupRun) {}
	}
	if d.Redact == nil {
		d.Redact = func(text string) string { return text }
	}
	d.Logger = d.Logger.With("service", Name)
	d.Source.Now, d.Source.Copy = d.Now, d.Store.Copy
	s := &Service{d: d, cfg: cfg, bounds: bounds{tick: failpoint.Brisk(10 * time.Second), patience: max(failpoint.Brisk(time.Minute), slowest), keeping: max(failpoint.Brisk(5*time.Minute), slowest), wait: time.Second},
		asked: make(chan *stream, 1), follows: make(chan follow, 1)}
	s.course.started = d.Started.Add(failpoint.Brisk(settling) - settling)
	s.meters.init(s)
	return s, nil
}

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: Name,
		Hears: []bus.Handler{
			bus.BackupCreate.Answer(s.create).Workers(1).Queue(8),
			bus.BackupTake.Answer(s.read).Workers(4).Queue(8), // each may wait a second
			bus.BackupFinish.Answer(s.finish).Workers(1).Queue(8),
			bus.BackupGet.Answer(s.get).Workers(2).Queue(16),
		},
		Says:    []bus.Lane{bus.MemoryRead, bus.BackupStarted, bus.BackupProgress, bus.BackupCompleted, bus.BackupFailed, bus.BackupVerified, bus.BackupDrilled},
		Metrics: s.meters.all(),
		Health:  s.health,
		Probes:  Probes(s),
	}
}

// Run makes backups until ctx ends.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	s.conn.Store(c)
	if err := s.begin(ctx); err != nil {
		return err
	}
	ready()
	defer s.unsentAtStop()
	return services.Work(ctx, s.make, s.sendAway, s.drills)
}

// begin removes what a crash has left, and reads what the last daemon knew.
func (s *Service) begin(ctx context.Context) error {
	s.turnAway()
	if err := os.RemoveAll(s.scratch()); err != nil {
		return fmt.Errorf("remove scratch directory: %w", err)
	}
	h, err := readHistory(ctx, s.d.Store)
	if err != nil {
		return err
	}
	s.lookAtReplaced()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.stream, s.history = nil, nil, h
	if h.scheduled != nil {
		s.course.done = h.scheduled.Time
	}
	if h.missed != nil && h.missed.Time.After(s.course.done) {
		s.course.failed, s.course.failures = h.missed.Time, max(1, h.missed.Failures)
	}
	return nil
}

// Scratch is the directory below a data directory for what is made on the way.
func Scratch(dataDir string) string { return filepath.Join(dataDir, "backup.tmp") }

func (s *Service) scratch() string { return Scratch(s.d.Source.DataDir) }

// make makes one backup after another: those that are asked for, and those that are due.
func (s *Service) make(ctx context.Context) error {
	tick := time.NewTicker(s.bounds.tick)
	defer tick.Stop()
	for {
		select {
		case st := <-s.asked:
			s.serve(ctx, st)
		case <-tick.C:
			s.scheduled(ctx)
			s.lookAtReplaced()
		case <-ctx.Done():
			s.turnAway()
			return nil
		}
	}
}

// turnAway tells who waits that nothing comes.
func (s *Service) turnAway() {
	select {
	case st := <-s.asked:
		s.release(st.run)
		st.end(bus.BackupRun{}, errStopped())
	default:
	}
}

// claim takes the one place for a backup. It does not while memory is critical.
func (s *Service) claim(ctx context.Context, scheduled bool) (*running, error) {
	if m, err := bus.MemoryRead.Ask(ctx, s.conn.Load(), bus.MemoryQuery{}); err == nil && m.Pressure == bus.PressureCritical {
		return nil, &bus.Error{Code: bus.CodeBusy, Message: "memory is nearly used up: no backup is begun", RetryAfter: deferral,
			Hint: "try again in a minute; `blufio status` shows the memory"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running; r != nil {
		return nil, &bus.Error{Code: bus.CodeBusy, Message: fmt.Sprintf("another backup is being made (since %s)", r.began.Local().Format(time.TimeOnly)),
			RetryAfter: 5 * time.Second, Hint: "try again when it is done; `blufio backup list` shows how far it is"}
	}
	now := s.d.Now()
	s.running = &running{began: now, step: bus.BackupStep{ID: nuid.Next(), Time: now.UTC(), Scheduled: scheduled, Stage: bus.BackupCopy}}
	return s.running, nil
}

// release gives the place back.
func (s *Service) release(r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == r {
		s.running = nil
	}
}

// tell notes how far r is, and says it in an event where that is worth one: at each stage,
// and at every quarter of a long one.
func (s *Service) tell(r *running) Tell {
	return func(stage string, done, total int64) {
		now := s.d.Now()
		s.mu.Lock()
		r.step.Stage, r.step.Done, r.step.Total, r.step.Time = stage, done, total, now.UTC()
		step, last := r.step, r.told
		worth := stage != last.Stage || total > 0 && (done-last.Done)*4 >= total && now.Sub(last.Time) > time.Second
		if worth {
			r.told = step
		}
		s.mu.Unlock()
		if worth {
			s.say(func(tx *sqlite.Tx) error { return eventlog.Record(s.d.Events, tx, bus.BackupProgress, step) })
		}
	}
}

// say records a fact that nobody waits for.
func (s *Service) say(write func(tx *sqlite.Tx) error) {
	failed := func(err error) {
		if err != nil {
			s.d.Logger.Warn("record event", "err", err)
		}
	}
	if err := s.d.Store.WriteLazy(write, failed); err != nil {
		failed(err)
	}
}

// stopping reports whether err is that of a daemon that stops.
func stopping(ctx context.Context, err error) bool { return ctx.Err() != nil && err != nil }

// get answers ctl.backup.get.
func (s *Service) get(_ context.Context, q bus.BackupQuery) (bus.BackupSummary, error) {
	if q.Files < 0 || q.Files > maxListed {
		return bus.BackupSummary{}, bus.Errorf(bus.CodeInvalid, "at most %d files are named", maxListed)
	}
	out := s.summary()
	if q.Files == 0 {
		return out, nil
	}
	all, err := s.list()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, bus.Errorf(bus.CodeUnavailable, "the backups cannot be listed: %v", err)
	}
	out.Files, out.More = named(all, q.Files)
	return out, nil
}

// maxListed bounds the files of an answer.
const maxListed = 100

func (s *Service) summary() bus.BackupSummary {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.history
	out := bus.BackupSummary{Every: int64(s.cfg.Every.Seconds()), DrillEvery: int64(s.cfg.DrillEvery.Seconds()), Dir: s.dir(), LastSuccess: h.success, LastFailure: h.failure,
		Failures: s.course.failures, LastVerified: h.verified, LastDrilled: h.drilled, Files: []bus.BackupFile{}, NotDrilled: s.cfg.notDrilled(), Replaced: replaced(s.kept)}
	if due, ok := s.course.due(s.d.Now(), s.cfg.Every); ok {
		due = due.UTC()
		out.NextDue = &due
	}
	if s.running != nil {
		step := s.running.step
		out.Running = &step
	}
	return out
}
