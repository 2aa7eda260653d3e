// SPDX-License-Identifier: MIT OR Apache-2.0

// Package relay is the room that publishes durable events and keeps the event
// stream complete.
//
// Rooms write events into the event log, in the transaction of their facts. The
// relay reads the log in order and publishes each row: the rooms and every
// listener hear it at once, and the stream EVENTS stores it for replay. The log
// is the truth, the stream a projection that may be lost and begun anew:
//
//   - What the stream last stored decides where the relay goes on, at the start
//     and after every failure. Rows stay in the log for [keep] after they were
//     stored, longer than JetStream takes to sync to disk.
//   - What is in neither of them any more is said with evt.stream.gap.
//   - While the stream is away events are still heard, and the log is bounded
//     by [maxRows].
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	keep       = 5 * time.Minute // JetStream syncs every 2 minutes
	maxRows    = 50_000          // events in the log, relayed or not
	page       = 256             // rows read at once
	pruneEvery = time.Minute
	pruneRows  = 5_000 // deleted at once, so that the writer is never held long
	noteEvery  = time.Second
	openWait   = 15 * time.Second // for the stream to open or answer
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// Stream opens the event stream; *embedded.Server does.
type Stream interface {
	OpenEvents(ctx context.Context) (*embedded.Events, error)
}

// Service is the room.
type Service struct {
	log    *eventlog.Log
	stream Stream
	open   <-chan struct{} // closed when the house is ready: opening must not delay that
	slog   *slog.Logger

	// Only Run's goroutine uses these.
	events  *embedded.Events // nil before the first opening
	epoch   string           // of the event log
	cursor  int64            // highest position handed out since the stream was last asked
	heard   int64            // highest position published in this process
	storing bool             // the last one handed out was only stored

	progress  progress
	published prometheus.Counter
	lost      prometheus.Counter
	unstored  prometheus.GaugeFunc
}

var _ services.Service = (*Service)(nil)

// New returns the room. It opens the stream once open is closed.
func New(log *eventlog.Log, stream Stream, open <-chan struct{}, logger *slog.Logger) *Service {
	s := &Service{log: log, stream: stream, open: open, slog: logger}
	s.progress.init()
	s.published = prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_events_published_total", Help: "Durable events published."})
	s.lost = prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_events_lost_total", Help: "Durable events missing from the stream for good."})
	s.unstored = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_events_unstored", Help: "Durable events published and not yet stored in the stream."},
		func() float64 { return float64(s.progress.inFlight()) })
	return s
}

// Door declares the room. It publishes the facts of all rooms, in their names.
func (s *Service) Door() services.Door {
	return services.Door{
		Name:    "relay",
		Says:    []bus.Lane{bus.StreamGap},
		Metrics: []prometheus.Collector{s.published, s.lost, s.unstored},
		Health:  s.health,
	}
}

// health tells of a stream that does not store. Replay suffers from that, the
// agent's work does not.
func (s *Service) health() []bus.Problem {
	err := s.progress.trouble()
	if err == nil || errors.Is(err, errNotOpen) {
		return nil
	}
	return []bus.Problem{{Code: "event_stream", Title: "events are not kept for replay: " + err.Error(),
		Hint: "messages are not affected; free disk space if it is full, blufio tries again by itself"}}
}

// Run relays until ctx ends. What is not relayed then is still in the log.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	ready()
	select {
	case <-s.open:
	case <-ctx.Done():
		return nil
	}
	note, prune := time.NewTicker(noteEvery), time.NewTicker(pruneEvery)
	defer note.Stop()
	defer prune.Stop()
	s.progress.fail(errNotOpen)
	wait := retryFirst
	retry := time.After(0)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-retry:
			retry = nil
			s.reopen(ctx)
		case <-s.log.Wake():
		case <-s.progress.failed:
		case <-note.C:
			s.note()
		case <-prune.C:
			s.prune(ctx)
		}
		if err := s.relay(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if s.progress.trouble() == nil {
			wait = retryFirst
		} else if retry == nil {
			retry = time.After(wait)
			wait = min(2*wait, retryMost)
		}
	}
	s.note()
	return nil
}

// reopen opens the stream and finds out where to go on.
func (s *Service) reopen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	events, err := s.stream.OpenEvents(ctx)
	if events != nil {
		s.events = events
	}
	if err == nil {
		err = s.resume(ctx)
	}
	if err != nil {
		s.progress.fail(err)
		s.slog.Warn("event stream is away", "service", "relay", "err", err)
	}
}

// resume asks the stream what it stored last and goes on behind that.
func (s *Service) resume(ctx context.Context) error {
	log, err := s.log.State(ctx)
	if err != nil {
		return err
	}
	held, err := s.events.State(ctx)
	if err != nil {
		return err
	}
	last, err := s.lastStored(ctx, log, held)
	if err != nil {
		return err
	}
	oldest := log.First
	if oldest == 0 {
		oldest = log.Last + 1
	}
	if from, to := max(last, log.Lost)+1, oldest-1; from <= to {
		if err := s.log.ReportGap(ctx, from, to, "the stream lost them and the log no longer holds them"); err != nil {
			return fmt.Errorf("report gap: %w", err)
		}
		s.lost.Add(float64(to - from + 1))
	}
	s.epoch, s.cursor, s.storing = log.Epoch, last, false
	s.progress.begin(held.Epoch, max(last, oldest-1))
	return nil
}

// lastStored returns the position of the newest event that the stream holds or,
// when all of them have aged out, has held.
func (s *Service) lastStored(ctx context.Context, log eventlog.State, held embedded.State) (int64, error) {
	msg, err := s.events.Last(ctx, bus.HeaderSeq)
	if err != nil {
		return 0, err
	}
	if msg != nil && msg.Header.Get(bus.HeaderEpoch) == log.Epoch {
		return strconv.ParseInt(msg.Header.Get(bus.HeaderSeq), 10, 64)
	}
	if msg == nil && held.Msgs == 0 && held.Last > 0 && held.Epoch == log.Stream {
		return log.Relayed, nil
	}
	return 0, nil // a new stream, or one made from another database
}

// relay hands out what the log holds behind the cursor.
func (s *Service) relay(ctx context.Context) error {
	if s.events == nil {
		return nil // before the first opening
	}
	if s.progress.trouble() != nil {
		s.cursor = max(s.cursor, s.heard) // what was heard is stored again after the next opening
	}
	for ctx.Err() == nil {
		rows, err := s.log.After(ctx, s.cursor, page)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			if err := s.handOut(ctx, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// handOut publishes a row, or only stores it when it was heard before. Between
// the two ways all answers are awaited: the stream keeps order only within one.
func (s *Service) handOut(ctx context.Context, row eventlog.Row) error {
	storing := row.Seq <= s.heard
	if storing != s.storing {
		s.progress.settled(ctx, openWait)
	}
	send := s.events.Publish
	if storing {
		send = s.events.Store
	}
	ev := embedded.Event{Subject: row.Subject, ID: fmt.Sprintf("%s-%d", s.epoch, row.Seq), Data: row.Payload,
		Header: nats.Header{bus.HeaderSeq: {strconv.FormatInt(row.Seq, 10)}, bus.HeaderEpoch: {s.epoch}}}
	answer := s.progress.sent(row.Seq)
	err := send(ctx, ev, func(_ embedded.Ack, err error) { answer(err) })
	if err != nil {
		answer(err)
		if !errors.Is(err, embedded.ErrWindowFull) {
			return fmt.Errorf("publish event %d: %w", row.Seq, err)
		}
	}
	if !storing {
		s.published.Inc()
	}
	s.cursor, s.heard, s.storing = row.Seq, max(s.heard, row.Seq), storing
	return nil
}

// note writes down how far the stream has come, so that the log can be pruned.
func (s *Service) note() {
	stream, seq, moved := s.progress.stored()
	if !moved {
		return
	}
	err := s.log.MarkRelayed(stream, seq, nil) // if it is lost, the next one says the same
	if err != nil {
		s.slog.Warn("note relayed events", "service", "relay", "err", err)
	}
}

func (s *Service) prune(ctx context.Context) {
	_, unrelayed, err := s.log.Prune(ctx, time.Now().Add(-keep), maxRows, pruneRows)
	if err != nil {
		s.slog.Warn("prune event log", "service", "relay", "err", err)
	}
	if unrelayed > 0 {
		s.slog.Warn("events dropped from a full log before the stream stored them", "service", "relay", "events", unrelayed)
	}
}
