// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"time"
)

// pruneSoon is the pause while there is more to delete than one write should.
const pruneSoon = 50 * time.Millisecond

// note writes down how far the stream has come, so that the log can be pruned.
func (s *Service) note() {
	stream, seq, news := s.progress.note()
	if !news {
		return
	}
	done := func(err error) {
		if err != nil {
			s.progress.unnoted()
		}
	}
	if err := s.log.MarkRelayed(stream, seq, done); err != nil {
		done(err)
		s.slog.Warn("note relayed events", "service", "relay", "err", err)
	}
}

// age is called when bounds.keep has passed: what was stored when it began is
// now safe on disk.
func (s *Service) age() { s.safe, s.young = s.young, s.progress.stored() }

// prune deletes what need not be kept and returns when to come again.
func (s *Service) prune(ctx context.Context) time.Duration {
	p, err := s.log.Prune(ctx, s.safe, s.heard, s.bounds.maxRows, s.bounds.pruneRows)
	if err != nil {
		if ctx.Err() == nil {
			s.slog.Warn("prune event log", "service", "relay", "err", err)
		}
		return s.bounds.pruneEvery
	}
	s.first.Add(p.Deleted)
	if p.Unrelayed > 0 {
		s.slog.Warn("events dropped from a full log before the stream stored them", "service", "relay", "events", p.Unrelayed)
		if s.progress.trouble() == nil {
			s.progress.fail(errDropped)
		}
	}
	if p.More {
		return pruneSoon
	}
	return s.bounds.pruneEvery
}
