// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"log/slog"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

var _ services.Service = (*Service)(nil)

// Deps are what the room works with.
type Deps struct {
	Store  *sqlite.Store // with Schema and eventlog.Schema
	Events *eventlog.Log // of the same store
	Logger *slog.Logger
	Now    func() time.Time // default time.Now
}

// Service is the room.
type Service struct {
	d   Deps
	cfg Config
}

// New makes the room.
func New(cfg Config, d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	return &Service{d: d, cfg: cfg}, nil
}

// Door implements services.Service.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: "recall",
		Hears: []bus.Handler{
			bus.RecallSearch.Answer(s.search).Workers(2).Queue(64),
			bus.RecallKeep.Answer(s.add).Workers(8).Queue(256),
			bus.RecallList.Answer(s.list).Workers(1),
			bus.RecallDrop.Answer(s.forget).Workers(1),
			bus.RecallImport.Answer(s.take).Workers(1),
			bus.RecallGet.Answer(s.status).Workers(1),
			bus.MemoryShed.To("recall").Answer(s.shed).Workers(1),
		},
		Says:   []bus.Lane{bus.FactAdded, bus.FactSuperseded, bus.FactForgotten, bus.FactEvicted},
		Probes: Probes(s),
	}
}

// Run implements services.Service.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

var errNotYet = bus.Errorf(bus.CodeUnavailable, "recall is not built yet")

func (s *Service) search(context.Context, bus.RecallQuery) (bus.RecallHits, error) {
	return bus.RecallHits{}, errNotYet
}
func (s *Service) add(context.Context, bus.RecallAdd) (bus.RecallAdded, error) {
	return bus.RecallAdded{}, errNotYet
}
func (s *Service) list(context.Context, bus.RecallPageQuery) (bus.RecallPage, error) {
	return bus.RecallPage{}, errNotYet
}
func (s *Service) forget(context.Context, bus.RecallForget) (bus.RecallForgotten, error) {
	return bus.RecallForgotten{}, errNotYet
}
func (s *Service) take(context.Context, bus.RecallBatch) (bus.RecallImported, error) {
	return bus.RecallImported{}, errNotYet
}
func (s *Service) status(context.Context, bus.RecallStatusQuery) (bus.RecallStatus, error) {
	return bus.RecallStatus{Enabled: s.cfg.Enable, Kind: bus.RecallNone, Limit: int64(s.cfg.MaxEntries), IndexLimit: int64(s.cfg.IndexMB) << 20}, nil
}
func (s *Service) shed(context.Context, bus.Shed) (bus.Freed, error) { return bus.Freed{}, nil }
