// SPDX-License-Identifier: MIT OR Apache-2.0

package control

import (
	"context"
	"os"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// mostUntold bounds the changes kept for a database that takes no writes. While
// it does not, the health stays degraded, so there are hardly ever two.
const mostUntold = 8

// tellChanges records what is different from the last beat. What cannot be
// recorded now is at the next beat, once.
func (s *Service) tellChanges(ctx context.Context, st bus.Status, h bus.Health) error {
	if h.State != s.state && len(s.untold) < mostUntold {
		s.untold = append(s.untold, bus.HealthFact{Time: h.Time, State: h.State, From: s.state, Checks: failing(h)})
		s.state = h.State
	}
	restarted := s.newRestarts(st)
	if s.began && len(s.untold) == 0 && len(restarted) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	err := s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		if !s.began {
			if err := eventlog.Record(s.d.Events, tx, bus.DaemonStarted, s.startedFact(st, h)); err != nil {
				return err
			}
		}
		for _, r := range restarted {
			if err := eventlog.Record(s.d.Events, tx, bus.RoomRestarted, r); err != nil {
				return err
			}
		}
		for _, f := range s.untold {
			if err := eventlog.Record(s.d.Events, tx, bus.HealthChanged, f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.began, s.untold = true, nil
	for _, r := range restarted {
		s.restarts[r.Service] = r.Restarts
	}
	return nil
}

func (s *Service) startedFact(st bus.Status, h bus.Health) bus.StartedFact {
	f := bus.StartedFact{Time: h.Time, Version: s.d.Version, Node: s.d.Node, PID: os.Getpid(), ReadyMS: h.Time.Sub(s.d.Started).Milliseconds()}
	if st.Sessions != nil {
		f.Interrupted = st.Sessions.Interrupted
	}
	return f
}

func (s *Service) newRestarts(st bus.Status) []bus.RestartedFact {
	var out []bus.RestartedFact
	for _, v := range st.Services {
		if v.Restarts > s.restarts[v.Name] {
			out = append(out, bus.RestartedFact{Time: st.Time, Service: v.Name, Restarts: v.Restarts})
		}
	}
	return out
}

func failing(h bus.Health) []bus.HealthCheck {
	out := []bus.HealthCheck{}
	for _, c := range h.Checks {
		if !c.OK {
			out = append(out, c)
		}
	}
	return out
}

// farewell takes a last picture, for those who ask when no daemon runs, and says
// that the daemon stops. The other rooms still answer.
func (s *Service) farewell(ctx context.Context) error {
	if s.d.Stop != nil {
		s.d.Stop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patient)
	defer cancel()
	picture, _ := s.picture(ctx) // what does not answer is absent in it
	if err := s.keep(ctx, picture); err != nil {
		s.d.Logger.Warn("keep last status", "service", "control", "err", err)
	}
	now := s.d.Now().UTC()
	err := s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		return eventlog.Record(s.d.Events, tx, bus.DaemonStopping, bus.StoppingFact{Time: now, UptimeSeconds: int64(now.Sub(s.d.Started).Seconds())})
	})
	if err != nil {
		s.d.Logger.Warn("record stop", "service", "control", "err", err)
	}
	return nil
}
