// SPDX-License-Identifier: MIT OR Apache-2.0

// Package relay is the room that publishes durable events and keeps the event
// stream complete.
//
// Rooms write events into the event log, in the transaction of their facts. The
// relay reads the log in order and publishes each row: the rooms and every
// listener hear it at once, and the stream EVENTS stores it for replay. The log
// is the truth, the stream a projection that may be lost and begun anew:
//
//   - In fair weather, hearing and storing are one publication.
//   - When the stream fails or is slow, nobody waits for it: events are heard
//     and kept out of the stream, so that it never has holes. Once it is back it
//     gets them in order, while new ones go on being heard at once.
//   - What the stream last stored decides where the relay goes on, at the start
//     and after every failure. Rows stay in the log for five minutes and more
//     after they were stored, longer than JetStream takes to sync to disk.
//   - What is in neither of them any more is said with evt.stream.gap.
//   - The log is bounded (50 000 events, 256 MiB) also while the stream is away.
//
// A listener may hear an event twice after a crash; the position in the header tells.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	page     = 256                    // rows read at once; of large ones fewer: eventlog.PageBytes
	openWait = 15 * time.Second       // for the stream to open and answer
	patience = 250 * time.Millisecond // for a place among the events that wait for the stream
	parting  = time.Second            // for what was recorded while the house stopped
)

// bounds are what tests make smaller.
type bounds struct {
	keep       time.Duration // rows stay at least so long after they were stored; JetStream syncs every 2 minutes
	maxRows    int64         // events in the log, relayed or not
	maxBytes   int64         // of their payloads, as far as this process has published them; in steps of markBytes
	pruneEvery time.Duration
	pruneRows  int64 // deleted at once, so that the writer is never held long
	noteEvery  time.Duration
	retryFirst time.Duration // pause before the stream is opened again; doubles
	retryMost  time.Duration
}

var defaults = bounds{keep: 5 * time.Minute, maxRows: 50_000, maxBytes: 256 << 20, pruneEvery: time.Minute, pruneRows: 5_000,
	noteEvery: time.Second, retryFirst: time.Second, retryMost: 30 * time.Second}

// Stream is the event stream; *embedded.Server has it.
type Stream interface {
	Events() (*embedded.Events, error)
	OpenEvents(ctx context.Context) (*embedded.Events, error)
}

// Service is the room.
type Service struct {
	log    *eventlog.Log
	stream Stream
	open   <-chan struct{} // closed when the house is ready: opening must not delay that
	slog   *slog.Logger
	bounds bounds

	// Only Run's goroutine uses these.
	events  *embedded.Events
	epoch   string // of the event log
	heard   int64  // highest position published
	sent    int64  // highest position handed to the stream since it was last asked
	storing bool   // what was handed to it last had been heard before
	safe    int64  // stored at least bounds.keep ago, and so on disk
	young   int64  // stored when bounds.keep last began; safe when it ends
	bulk    bulk   // of what was published

	reading   atomic.Pointer[embedded.Events] // for ctl.events.read; nil before begin
	progress  progress
	first     atomic.Int64 // oldest position in the log, as of the last pruning
	away      atomic.Int64 // times that the stream failed
	published prometheus.Counter
	lost      prometheus.Counter
	gauges    []prometheus.Collector
}

var _ services.Service = (*Service)(nil)

// New returns the room. It opens the stream once open is closed.
func New(log *eventlog.Log, stream Stream, open <-chan struct{}, logger *slog.Logger) *Service {
	s := &Service{log: log, stream: stream, open: open, slog: logger, bounds: defaults}
	s.progress.init()
	s.published = prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_events_published_total", Help: "Durable events published."})
	s.lost = prometheus.NewCounter(prometheus.CounterOpts{Name: "blufio_events_lost_total", Help: "Durable events missing from the stream for good."})
	gauge := func(name, help string, read func() int64) {
		s.gauges = append(s.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_events_" + name, Help: help}, func() float64 { return float64(read()) }))
	}
	gauge("unstored", "Durable events published and not yet stored in the stream.", s.progress.behind)
	gauge("storing_bytes", "Durable events on their way into the stream, in whole places of 32 KiB.", s.storingBytes)
	gauge("storing_bytes_limit", "Bound of blufio_events_storing_bytes, fixed: beyond, events are stored later.", func() int64 { return embedded.MaxWaitingBytes })
	gauge("logged", "Durable events in the event log, stored in the stream or not.", func() int64 { return s.progress.since(s.first.Load()) })
	gauge("logged_limit", "Bound of blufio_events_logged, fixed: beyond, the oldest are dropped, and a gap is told.", func() int64 { return s.bounds.maxRows })
	gauge("logged_bytes", "Payloads of durable events in the event log, of those published since the start.", s.bulk.bytes.Load)
	gauge("logged_bytes_limit", "Bound of blufio_events_logged_bytes, fixed: beyond, the oldest are dropped, and a gap is told.", func() int64 { return s.bounds.maxBytes })
	return s
}

// storingBytes is what is on its way into the stream.
func (s *Service) storingBytes() int64 {
	if events := s.reading.Load(); events != nil {
		return events.WaitingBytes()
	}
	return 0
}

// Door declares the room. It publishes the facts of all rooms, in their names.
func (s *Service) Door() services.Door {
	return services.Door{
		Name:     "relay",
		Hears:    []bus.Handler{bus.EventsRead.Answer(s.read).Workers(2).Queue(16)},
		Says:     []bus.Lane{bus.StreamGap},
		Metrics:  append([]prometheus.Collector{s.published, s.lost}, s.gauges...),
		Failures: map[string]func() float64{"stream": func() float64 { return float64(s.away.Load()) }},
		Health:   s.health,
		Probes:   Probes(s),
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

// Run relays until ctx ends. What is not relayed then is still in the log. A relay that
// cannot read that is not ready.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	if err := s.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to end before it had begun
		}
		return err
	}
	ready()
	select {
	case <-s.open:
	case <-ctx.Done():
		return nil
	}
	if err := s.publishers(); err != nil {
		return err
	}
	var asking sync.WaitGroup // one at a time
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return s.loop(ctx, func(answers chan<- holding) { asking.Go(func() { answers <- s.ask(ctx) }) })
}

// loop never waits for the stream: asking it goes on beside.
func (s *Service) loop(ctx context.Context, ask func(chan<- holding)) error {
	answers := make(chan holding, 1)
	note, prune, aged := time.NewTicker(s.bounds.noteEvery), time.NewTicker(s.bounds.pruneEvery), time.NewTicker(s.bounds.keep)
	defer note.Stop()
	defer prune.Stop()
	defer aged.Stop()
	wait, retry, away := s.bounds.retryFirst, time.After(0), true
	from := int64(0) // stored when the stream was last asked
	full := false    // the log is, and pruning is on its way
	for {
		select {
		case <-ctx.Done():
			return s.leave(ctx)
		case <-retry:
			ask(answers)
		case h := <-answers:
			if err := s.resume(ctx, h); err == nil {
				away, from = false, s.progress.stored()
			} else {
				s.progress.fail(err)
				retry, wait = s.later("event stream is away", err, wait)
			}
		case <-s.log.Wake():
		case <-s.progress.failed:
		case <-note.C:
			s.note()
		case <-aged.C:
			s.age()
		case <-prune.C:
			prune.Reset(s.prune(ctx))
			full = s.full() // it failed, or there is more
		}
		if err := s.relay(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if err := s.progress.trouble(); err != nil && !away {
			if s.progress.stored() > from {
				wait = s.bounds.retryFirst
			}
			away = true
			retry, wait = s.later("event stream does not store", err, wait)
		}
		if !full && s.full() {
			full = true
			prune.Reset(pruneSoon)
		}
	}
}

// later counts a failure of the stream and has it asked again after wait.
func (s *Service) later(what string, err error, wait time.Duration) (retry <-chan time.Time, next time.Duration) {
	s.away.Add(1)
	s.slog.Warn(what, "service", "relay", "err", err, "wait", wait.String())
	return time.After(wait), min(2*wait, s.bounds.retryMost)
}

// full reports that the log holds more than it may, by as much as is deleted at once.
func (s *Service) full() bool {
	return s.progress.since(s.first.Load()) >= s.bounds.maxRows+s.bounds.pruneRows || s.bulk.over(s.bounds.maxBytes) > 0
}

// begin finds out what was heard before this process.
func (s *Service) begin(ctx context.Context) error {
	log, err := s.log.State(ctx)
	if err != nil {
		return err
	}
	if s.first.Store(log.First); log.First == 0 {
		s.first.Store(log.Last + 1)
	}
	s.epoch, s.heard = log.Epoch, max(s.heard, log.Relayed)
	s.progress.known(log.Relayed, s.heard)
	s.progress.fail(errNotOpen)
	return nil
}

// publishers gets what it publishes with, of the bus that is open by now.
func (s *Service) publishers() (err error) {
	if s.events, err = s.stream.Events(); err != nil {
		return err
	}
	s.reading.Store(s.events)
	return nil
}

// leave relays what the rooms recorded while they stopped.
func (s *Service) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
	defer cancel()
	err := s.relay(ctx)
	s.note()
	return err
}

// relay publishes what is new and stores what the stream lacks, a page of each
// in turn, until there is neither.
func (s *Service) relay(ctx context.Context) error {
	for ctx.Err() == nil {
		news, err := s.tell(ctx)
		if err != nil {
			return err
		}
		old, err := s.catchUp(ctx)
		if err != nil || news+old == 0 {
			return err
		}
	}
	return nil
}

// tell makes new events heard, and in fair weather stored by the same.
func (s *Service) tell(ctx context.Context) (int, error) {
	rows, err := s.log.After(ctx, s.heard, page)
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		fair := s.fair()
		if fair {
			err = s.hand(ctx, row, s.events.Publish)
		} else {
			err = s.events.Announce(s.event(row))
		}
		if errors.Is(err, nats.ErrMaxPayload) {
			err = s.missing(ctx, row.Seq, row.Seq, "it is larger than the bus carries")
		}
		if err != nil {
			return 0, fmt.Errorf("publish event %d: %w", row.Seq, err)
		}
		if fair {
			s.sent = row.Seq
		}
		s.heard = row.Seq
		s.bulk.add(row.Seq, len(row.Payload))
		s.progress.told(row.Seq)
		s.published.Inc()
	}
	return len(rows), nil
}

// fair reports whether the stream holds, or is about to hold, all that was
// heard. It keeps order among stores and among publications, not between the
// two: after a store, all answers come first.
func (s *Service) fair() bool {
	if s.storing && s.progress.inFlight() == 0 {
		s.storing = false
	}
	return !s.storing && s.sent == s.heard && s.progress.trouble() == nil
}

// catchUp stores events that were heard while the stream was away.
func (s *Service) catchUp(ctx context.Context) (int, error) {
	if s.sent >= s.heard || s.progress.trouble() != nil {
		return 0, nil
	}
	rows, err := s.log.After(ctx, s.sent, page)
	if err != nil {
		return 0, err
	}
	for i, row := range rows {
		if row.Seq > s.heard {
			return i, nil
		}
		s.storing = true
		if err := s.hand(ctx, row, s.events.Store); err != nil && !errors.Is(err, nats.ErrMaxPayload) {
			return 0, nil // the stream is in trouble and will be asked
		}
		s.sent = row.Seq
	}
	return len(rows), nil
}

// hand gives a row to the stream and has the answer counted.
func (s *Service) hand(ctx context.Context, row eventlog.Row, send func(context.Context, embedded.Event, func(embedded.Ack, error)) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer := s.progress.sent(row.Seq)
	failpoint.Hit("relay.store")
	err := send(ctx, s.event(row), func(_ embedded.Ack, err error) {
		failpoint.Hit("relay.stored")
		answer(err)
	})
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		answer(nil) // no answer will make it smaller
	case err != nil:
		answer(err)
	}
	return err
}

func (s *Service) event(row eventlog.Row) embedded.Event {
	seq := strconv.FormatInt(row.Seq, 10)
	return embedded.Event{Subject: row.Subject, ID: s.epoch + "-" + seq, Data: row.Payload,
		Header: nats.Header{bus.HeaderSeq: {seq}, bus.HeaderEpoch: {s.epoch}}}
}

// missing tells that the stream will never have these events.
func (s *Service) missing(ctx context.Context, from, to int64, why string) error {
	if err := s.log.ReportGap(ctx, from, to, why); err != nil {
		return fmt.Errorf("report gap: %w", err)
	}
	s.lost.Add(float64(to - from + 1))
	s.slog.Warn("events are missing from the stream", "service", "relay", "from", from, "to", to, "why", why)
	return nil
}
