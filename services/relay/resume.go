// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/nats-io/nats.go/jetstream"
)

// errDropped makes the relay look anew where it stands.
var errDropped = errors.New("the event log was full before the stream had stored it")

// holding is what the stream says it has, or why it says nothing.
type holding struct {
	state embedded.State
	last  *jetstream.RawStreamMsg // newest event of ours; nil: none
	err   error
}

// ask opens the stream and asks what it holds. Nothing is stored meanwhile.
func (s *Service) ask(ctx context.Context) (h holding) {
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	h.err = services.Contain(func() error {
		events, err := s.stream.OpenEvents(ctx)
		if err != nil {
			return err
		}
		if h.state, err = events.State(ctx); err != nil {
			return err
		}
		h.last, err = events.Last(ctx, bus.HeaderSeq)
		return err
	})
	return h
}

// resume goes on behind what the stream stored last.
func (s *Service) resume(ctx context.Context, h holding) error {
	if h.err != nil {
		return h.err
	}
	log, err := s.log.State(ctx)
	if err != nil {
		return err
	}
	last, err := s.lastStored(ctx, log, h)
	if err != nil {
		return err
	}
	oldest := log.First
	if oldest == 0 {
		oldest = log.Last + 1
	}
	if from, to := max(last, log.Lost)+1, oldest-1; from <= to {
		if err := s.missing(ctx, from, to, bus.GapNotStored); err != nil {
			return err
		}
	}
	s.sent = max(last, oldest-1)
	s.heard = max(s.heard, s.sent)
	s.storing = false
	s.safe, s.young = min(s.safe, s.sent), min(s.young, s.sent)
	s.progress.begin(h.state.Epoch, s.sent)
	s.progress.told(s.heard)
	return nil
}

// lastStored returns the position up to which the stream holds the log's events
// or, when all of them have aged out, has held them.
func (s *Service) lastStored(ctx context.Context, log eventlog.State, h holding) (int64, error) {
	if h.last == nil && h.state.Last > 0 && h.state.Epoch == log.Stream {
		return log.Relayed, nil
	}
	if h.last == nil || h.last.Header.Get(bus.HeaderEpoch) != log.Epoch {
		return 0, nil // a new stream, or one made from another database
	}
	seq, err := strconv.ParseInt(h.last.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read position of the last stored event: %w", err)
	}
	same, err := s.log.Gave(ctx, seq, h.last.Subject, h.last.Data)
	if err != nil {
		return 0, err
	}
	if !same {
		return log.Relayed, s.renew(ctx)
	}
	if refused := s.progress.refusedIn(h.state.Epoch); refused > 0 {
		seq = min(seq, refused-1)
	}
	return seq, nil
}

// renew tells the events of a database that was set back from those that the
// stream has under the same positions.
func (s *Service) renew(ctx context.Context) error {
	if err := s.log.Renew(ctx); err != nil {
		return fmt.Errorf("begin new epoch: %w", err)
	}
	log, err := s.log.State(ctx)
	s.epoch = log.Epoch
	return err
}
