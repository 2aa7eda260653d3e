// SPDX-License-Identifier: MIT OR Apache-2.0

package control

import (
	"context"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// reload answers ctl.config.reload.
func (s *Service) reload(ctx context.Context, _ bus.ReloadRequest) (bus.Reloaded, error) {
	if s.d.Reload == nil {
		return bus.Reloaded{}, bus.Errorf(bus.CodeUnavailable, "this daemon does not know where its configuration came from")
	}
	r, err := s.d.Reload(ctx)
	if err != nil {
		return r, err
	}
	if err := s.tellReload(ctx, r); err != nil { // the configuration counts nevertheless
		s.d.Logger.Warn("record reload", "service", "control", "err", err)
	}
	return r, nil
}

// tellReload says in the log and as a fact what came of a reload. That nothing is new
// is not a fact.
func (s *Service) tellReload(ctx context.Context, r bus.Reloaded) error {
	log := s.d.Logger.With("service", "control")
	for _, p := range r.Problems {
		log.Error("the configuration is not valid, nothing has changed", "key", p.Key, "at", p.Name, "line", p.Line, "column", p.Column, "err", p.Message, "hint", p.Hint)
	}
	if len(r.Problems) == 0 {
		log.Info("configuration read again", "changed", r.Changed, "restart", r.Restart)
	}
	if len(r.Problems)+len(r.Changed)+len(r.Restart) == 0 {
		return nil
	}
	now := s.d.Now().UTC()
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	return s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		if n := len(r.Problems); n > 0 {
			return eventlog.Record(s.d.Events, tx, bus.ConfigRefused, bus.RefusedFact{Time: now, Problems: n})
		}
		return eventlog.Record(s.d.Events, tx, bus.ConfigReloaded, bus.ReloadedFact{Time: now, Changed: r.Changed, Restart: r.Restart, More: r.More})
	})
}

// reloads reads the configuration again whenever a signal asks for it, until ctx ends.
func (s *Service) reloads(ctx context.Context) error {
	for {
		select {
		case <-s.d.Hangups:
			if _, err := s.reload(ctx, bus.ReloadRequest{}); err != nil && ctx.Err() == nil {
				s.d.Logger.Error("the configuration was not read again", "service", "control", "err", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}
