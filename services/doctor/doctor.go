// SPDX-License-Identifier: MIT OR Apache-2.0

// Package doctor is the room that makes the daemon's checks of itself: ctl.doctor
// begins an examination, ctl.job tells its findings as they come.
//
// What there is to check, each room says itself, in its door ([services.Probe]).
// Here are the checks that belong to no room:
//
//	database.go  the file, its pages, its log, and that it takes writes
//	bus.go       the bus answers, and how the rooms are
//	turn.go      a message goes all the way
//	files.go     the data directory and what lies in it
//	system.go    the machine: clock, memory, limits
//
// Most of the latter also work without a daemon; services/serve puts them together
// for the command line then.
package doctor

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/jobs"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Deps is what the room works with.
type Deps struct {
	Store    *sqlite.Store
	Schemas  []sqlite.Schema // of every room
	Server   *embedded.Server
	MaxConns int // of the server
	DataDir  string
	Probes   func() []services.Probe // of the whole house, in the order of the table
	Report   func() services.Report  // the house's own picture
	Logger   *slog.Logger
	Now      func() time.Time
}

// Service is the room.
type Service struct {
	d        Deps
	jobs     *jobs.Table
	examiner services.Examiner
	turns    turns

	mu   sync.Mutex
	conn *bus.Conn
}

var _ services.Service = (*Service)(nil)

// New returns the room.
func New(d Deps) *Service {
	return &Service{d: d, jobs: jobs.New(jobs.Limits{}, d.Logger.With("service", "doctor"), d.Now)}
}

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: "doctor",
		Hears: []bus.Handler{
			bus.DoctorRun.Answer(s.begin).Workers(2).Queue(8),
			bus.JobGet.Answer(s.jobs.Get).Workers(16).Queue(32), // each may wait a second
			bus.MessageSend.To(bus.DoctorChannel).Answer(s.turns.deliver),
		},
		Says:    []bus.Lane{bus.JobGet, bus.MessageReceive},
		Metrics: s.jobs.Metrics(),
		Probes:  Probes(s),
	}
}

// Probes are the checks that the room makes itself. Those of no Service can be
// listed, not run.
func Probes(s *Service) []services.Probe {
	if s == nil {
		s = new(Service)
	}
	open := func(context.Context) (Database, error) { return Database{Store: s.d.Store, Schemas: s.d.Schemas}, nil }
	return slices.Concat(DatabaseProbes(open), s.writes(), s.busProbes(), s.turnProbes(), DiskProbes(s.d.DataDir), s.system(), MachineProbes(true, s.d.DataDir))
}

// Run examines until ctx ends.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	s.mu.Lock()
	s.conn = c
	s.mu.Unlock()
	defer s.examiner.Wait()
	return services.Work(ctx, s.jobs.Run, func(ctx context.Context) error {
		ready()
		<-ctx.Done()
		return nil
	})
}

func (s *Service) bus() *bus.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// begin answers ctl.doctor.
func (s *Service) begin(_ context.Context, r bus.DoctorRequest) (bus.Job, error) {
	const most = 200
	if len(r.Only) > most || len(r.Skip) > most || r.TimeoutMS < 0 || r.TimeoutMS > time.Minute.Milliseconds() {
		return bus.Job{}, bus.Errorf(bus.CodeInvalid, "at most %d checks are named, and none takes over a minute", most)
	}
	exam := services.Exam{Deep: r.Deep, Only: r.Only, Skip: r.Skip, Timeout: time.Duration(r.TimeoutMS) * time.Millisecond}
	id, err := s.jobs.Start("doctor", func(ctx context.Context, tell func(any)) (any, error) {
		s.examiner.Run(ctx, s.d.Probes(), exam, func(f bus.Finding) { tell(f) })
		return nil, nil
	})
	return bus.Job{ID: id}, err
}
