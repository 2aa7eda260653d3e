// SPDX-License-Identifier: MIT OR Apache-2.0

// Package control is the room that knows how the house is: it answers
// ctl.status, and once a second it writes and asks, and says what it found.
//
//   - Every second one row is written (the database works) and the rooms are
//     asked over the bus (the bus works). What came of it is the pulse, from which
//     the gateway answers GET /health; a request never causes work.
//   - The row is the last status. `blufio status` reads it when no daemon runs.
//   - It reads the configuration again when a call or a signal asks for it, by what
//     services/serve gives it, and gives `blufio bugreport` its parts.
//   - Changes become facts: started, stopping, health changed, room restarted. So
//     does what the bus server refuses, which is no room itself.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/denial"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	beat    = time.Second
	patient = time.Second // for all questions together, and for the write
)

// Schema holds the last status.
var Schema = sqlite.Schema{Room: "control", Steps: []string{`
CREATE TABLE last_status (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	at      INTEGER NOT NULL, -- Unix milliseconds
	payload BLOB NOT NULL     -- bus.Status as JSON
);
`}}

// Deps is what the room works with.
type Deps struct {
	Store    *sqlite.Store
	Events   *eventlog.Log
	Report   func() services.Report                      // the house's own picture
	Denials  *denial.Teller                              // what the bus server refused; nil: nothing is told
	Reload   func(context.Context) (bus.Reloaded, error) // reads the configuration again; nil: nobody can
	Part     func(name string) (bus.ReportPart, error)   // of a report; nil: there is none
	LogLevel func(bus.LogSetting) (bus.LogLevel, error)  // asks for the log's level, or for another one; nil: it has one
	Hangups  <-chan struct{}                             // asks for what Reload does; may be nil
	Beat     func(st bus.Status, works bool)             // hears of every beat; works: the bus answered and the database took the write; may be nil
	Stop     func()                                      // hears that the daemon stops, before anything ends; may be nil
	Logger   *slog.Logger
	Now      func() time.Time
	Version  string
	Node     string
	Started  time.Time
}

// Service is the room.
type Service struct {
	d     Deps
	every time.Duration // between two beats

	mu     sync.Mutex
	conn   *bus.Conn
	stored error // why the last status could not be written

	// Only Run's goroutine uses these: what was told last, and what could not
	// be told because the database took no writes.
	began    bool
	state    string
	untold   []bus.HealthFact
	restarts map[string]int
}

var _ services.Service = (*Service)(nil)

// New returns the room.
func New(d Deps) *Service {
	return &Service{d: d, every: beat, state: bus.Healthy, restarts: map[string]int{}}
}

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: "control",
		Hears: []bus.Handler{bus.StatusGet.Answer(s.status).Workers(2).Queue(32), bus.ConfigReload.Answer(s.reload).Workers(1).Queue(4),
			bus.ReportGet.Answer(s.part).Workers(1).Queue(8), bus.LogSet.Answer(s.logLevel).Workers(1).Queue(8)},
		Says: []bus.Lane{bus.AgentStatus, bus.CostGet, bus.MemoryRead, bus.BackupGet, bus.RecallGet, bus.Pulse,
			bus.DaemonStarted, bus.DaemonStopping, bus.HealthChanged, bus.RoomRestarted, bus.AccessDenied,
			bus.ConfigReloaded, bus.ConfigRefused},
		Metrics: s.d.Denials.Metrics(),
		Health:  s.problems,
	}
}

// problems tells, in the status too, that the database takes no writes.
func (s *Service) problems() []bus.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored == nil {
		return nil
	}
	return []bus.Problem{{Code: "database", Title: "the database takes no writes: " + s.stored.Error(),
		Hint: "messages are refused until it does; free disk space if it is full, blufio goes on by itself"}}
}

// Run beats until ctx ends.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	ready()
	return services.Work(ctx, s.tellDenials, s.reloads, s.live)
}

// tellDenials tells, until ctx ends, what the bus server refused. The server itself
// is no room.
func (s *Service) tellDenials(ctx context.Context) error {
	if s.d.Denials != nil {
		s.d.Denials.Run(ctx, s.d.Logger.With("service", "control"))
	}
	return nil
}

// live beats until ctx ends.
func (s *Service) live(ctx context.Context) error {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		s.beat(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause // only this room ends: the daemon goes on
			}
			return s.farewell(ctx)
		}
	}
}

func (s *Service) bus() *bus.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// beat takes the picture, writes it, and tells.
func (s *Service) beat(ctx context.Context) {
	picture, asked := s.picture(ctx)
	stored := s.keep(ctx, picture)
	if ctx.Err() != nil {
		return // stopping: what failed by that says nothing
	}
	if s.d.Beat != nil {
		answered := picture.Sessions != nil || picture.Memory != nil || picture.Cost != nil
		s.d.Beat(picture, works(answered, stored))
	}
	h := s.judge(picture, asked, stored)
	if err := bus.Pulse.Publish(s.bus(), h); err != nil {
		s.d.Logger.Warn("tell pulse", "service", "control", "err", err)
	}
	if err := s.tellChanges(ctx, picture, h); err != nil && ctx.Err() == nil {
		s.d.Logger.Warn("record change", "service", "control", "err", err)
	}
}

// works reports whether the daemon does its work, as far as a restart could help: a disk that
// is full is said at once by a database that works, and is no emptier after one.
func works(answered bool, stored error) bool {
	return answered && (stored == nil || errors.Is(stored, sqlite.ErrFull))
}

// status answers ctl.status with a picture taken now.
func (s *Service) status(ctx context.Context, _ bus.StatusQuery) (bus.Status, error) {
	picture, _ := s.picture(ctx)
	return picture, nil
}

// picture asks every room. What does not answer is absent, and said in asked.
func (s *Service) picture(ctx context.Context) (st bus.Status, asked error) {
	now := s.d.Now()
	rep := s.d.Report()
	st = bus.Status{Schema: bus.StatusSchema, Time: now.UTC(), Version: s.d.Version, Node: s.d.Node, PID: os.Getpid(),
		UptimeSeconds: int64(now.Sub(s.d.Started).Seconds()), Channels: rep.Channels, Services: rep.Services}
	asked = s.ask(ctx, &st)
	st.State = bus.Healthy
	unwell := func(state string) bool { return state != bus.Healthy }
	if asked != nil || slices.ContainsFunc(st.Services, func(v bus.ServiceStatus) bool { return unwell(v.State) }) ||
		slices.ContainsFunc(st.Channels, func(c bus.Channel) bool { return unwell(c.State) && c.State != bus.Stopped }) { // off, or its room says more
		st.State = bus.Degraded
	}
	return st, asked
}

// ask asks the rooms side by side, so that one that hangs leaves the others'
// answers in the picture.
func (s *Service) ask(ctx context.Context, st *bus.Status) error {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	var agent, memory, cost, backups, recall error
	var asking sync.WaitGroup
	asking.Go(func() {
		var a bus.AgentSummary
		if a, agent = bus.AgentStatus.Ask(ctx, s.bus(), bus.AgentQuery{}); agent == nil {
			st.Provider, st.Model, st.Sessions, st.Queues, st.Context = a.Provider, a.Model, &a.Sessions, &a.Queues, &a.Context
		}
	})
	asking.Go(func() {
		var m bus.Memory
		if m, memory = bus.MemoryRead.Ask(ctx, s.bus(), bus.MemoryQuery{}); memory == nil {
			st.Memory = &m
		}
	})
	asking.Go(func() {
		var c bus.CostSummary
		if c, cost = bus.CostGet.Ask(ctx, s.bus(), bus.CostQuery{}); cost == nil {
			st.Cost = &bus.CostStatus{Today: c.Today, Month: c.Month, DailyLimit: limit(c.DailyLimit), MonthlyLimit: limit(c.MonthlyLimit), Stopped: c.Stopped}
		}
	})
	asking.Go(func() {
		var b bus.BackupSummary
		if b, backups = bus.BackupGet.Ask(ctx, s.bus(), bus.BackupQuery{}); backups == nil {
			st.Backup = backupStatus(b)
		}
	})
	asking.Go(func() {
		var r bus.RecallStatus
		if r, recall = bus.RecallGet.Ask(ctx, s.bus(), bus.RecallStatusQuery{}); recall == nil {
			st.Recall = &r
		}
	})
	asking.Wait()
	return errors.Join(agent, memory, cost, backups, recall)
}

// backupStatus is the short form of how the backups stand.
func backupStatus(b bus.BackupSummary) (st bus.BackupStatus) {
	st.NextDue, st.NotDrilled, st.Replaced = b.NextDue, b.NotDrilled, b.Replaced
	if run := b.LastSuccess; run != nil {
		st.LastSuccess, st.Bytes, st.Seconds = &run.Time, run.Bytes, run.Seconds
	}
	if f := b.LastFailure; f != nil && (st.LastSuccess == nil || f.Time.After(*st.LastSuccess)) {
		st.LastFailure = &f.Time
	}
	if p := b.LastVerified; p != nil {
		st.LastVerified = &p.Time
	}
	if p := b.LastDrilled; p != nil {
		st.LastDrilled = &p.Time
	}
	return st
}

func limit(m bus.MicroUSD) *bus.MicroUSD {
	if m == 0 {
		return nil
	}
	return &m
}

// keep writes the last status: evidence that the database works, and what is
// shown when no daemon runs.
func (s *Service) keep(ctx context.Context, st bus.Status) error {
	data, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	writing, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	err = s.d.Store.Write(writing, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`INSERT OR REPLACE INTO last_status (id, at, payload) VALUES (1, ?, ?)`, st.Time, data)
		return err
	})
	if ctx.Err() == nil {
		s.mu.Lock()
		s.stored = err
		s.mu.Unlock()
	}
	return err
}

// judge makes the health of evidence. A room that runs and reports a problem is
// not a reason to restart the daemon; one that does not run is.
func (s *Service) judge(st bus.Status, asked, stored error) bus.Health {
	check := func(name string, err error) bus.HealthCheck {
		if err != nil {
			return bus.HealthCheck{Name: name, Detail: err.Error()}
		}
		return bus.HealthCheck{Name: name, OK: true}
	}
	h := bus.Health{Time: s.d.Now().UTC(), State: bus.Healthy, Checks: []bus.HealthCheck{check("database", stored), check("bus", asked)}}
	for _, v := range st.Services {
		c := bus.HealthCheck{Name: v.Name, OK: true}
		for _, p := range v.Problems {
			c.Detail = p.Title
			if services.NotRunning(p) {
				c.OK = false
			}
		}
		h.Checks = append(h.Checks, c)
	}
	if slices.ContainsFunc(h.Checks, func(c bus.HealthCheck) bool { return !c.OK }) {
		h.State = bus.Degraded
	}
	return h
}

// LastStatus reads what the last daemon wrote; nil when none ever did.
func LastStatus(ctx context.Context, store *sqlite.Store) (*bus.Status, error) {
	rows, err := store.Query(ctx, `SELECT payload FROM last_status`)
	if err != nil {
		return nil, fmt.Errorf("read last status: %w", err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	var data []byte
	if err := rows.Scan(&data); err != nil {
		return nil, fmt.Errorf("read last status: %w", err)
	}
	st := new(bus.Status)
	if err := json.Unmarshal(data, st); err != nil {
		return nil, fmt.Errorf("read last status: %w", err)
	}
	return st, nil
}
