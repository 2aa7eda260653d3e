// SPDX-License-Identifier: MIT OR Apache-2.0

package hooks

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/prometheus/client_golang/prometheus"
)

// Name is the room's name.
const Name = "hooks"

// Service is the room: it hears alerts and runs the hook for them.
type Service struct {
	runner *Runner
	alerts *alerts
	now    func() time.Time
}

var _ services.Service = (*Service)(nil)

// New returns the room of a runner.
func New(r *Runner, now func() time.Time) *Service {
	return &Service{runner: r, alerts: newAlerts(), now: now}
}

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: Name,
		Hears: []bus.Handler{
			hear(s, bus.BudgetWarned, always), hear(s, bus.BudgetExhausted, always),
			hear(s, bus.MemoryPressure, func(f bus.MemoryFact) bool { return f.Pressure != bus.PressureNormal }),
			hear(s, bus.HealthChanged, func(f bus.HealthFact) bool { return f.State != bus.Healthy }),
			hear(s, bus.RoomRestarted, always), hear(s, bus.ChannelDown, always), hear(s, bus.ProviderDown, always),
			hear(s, bus.MessageDied, always), hear(s, bus.ReplyDied, always), hear(s, bus.BackupFailed, always),
		},
		Metrics: []prometheus.Collector{s.runner.runs},
		Health:  s.problems,
	}
}

// Reconfigure prepares for other hooks; take makes them count.
func (s *Service) Reconfigure(cfg Config) (take func(), err error) {
	return func() { s.runner.take(cfg) }, nil
}

func always[T any](T) bool { return true }

// hear makes an alert of the events for which bad holds.
func hear[T any](s *Service, e bus.Event[T], bad func(T) bool) bus.Handler {
	return e.On(func(_ context.Context, fact T) {
		if !s.runner.Has(OnAlert) || !bad(fact) {
			return
		}
		data, err := json.Marshal(fact)
		if err != nil { // it was read from JSON a moment ago
			s.runner.deps.Logger.Error("alert not told", "service", Name, "event", e.Spec().Name, "err", err)
			return
		}
		s.alerts.add(name(e.Spec()), data)
	})
}

func (s *Service) problems() (all []bus.Problem) {
	for _, e := range s.runner.troubles() {
		all = append(all, bus.Problem{Code: "hook_failed", Title: e.Error(), Hint: e.Hint()})
	}
	return all
}

// Run tells alerts until ctx ends, one at a time.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	ready()
	for {
		a, wait := s.alerts.next(s.now())
		if a != nil {
			// A failure is logged, counted and in the health: nobody else waits for it.
			_ = s.runner.run(ctx, OnAlert, a.event, []string{"BLUFIO_ALERT=" + a.name, "BLUFIO_ALERT_COUNT=" + strconv.Itoa(a.count)})
			continue
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
			if left := s.alerts.left(); left > 0 {
				s.runner.deps.Logger.Info("alerts are not told: the daemon stops", "service", Name, "names", left)
			}
			return nil
		case <-s.alerts.kick:
		case <-due:
		}
	}
}
