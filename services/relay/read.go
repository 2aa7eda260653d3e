// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of one answer to ctl.events.read.
const (
	defaultPage = 100
	maxPage     = 500
	maxLooked   = 5_000     // events looked at for a pattern
	maxBytes    = 512 << 10 // of payload: half of what the bus carries
)

// read answers a page of the stream. Positions grow with the stream's own
// numbers, so the first event of a page is found by halving. Events of another
// epoch, left by a database that was replaced, are passed over.
func (s *Service) read(ctx context.Context, q bus.EventQuery) (bus.EventPage, error) {
	wanted, err := bus.ParsePattern(q.Pattern)
	if err != nil {
		return bus.EventPage{}, err
	}
	if q.After != 0 && q.Since != nil {
		return bus.EventPage{}, bus.Errorf(bus.CodeInvalid, "after and since exclude each other")
	}
	page, err := s.page(ctx, q, wanted)
	if err != nil && ctx.Err() == nil {
		return page, bus.Errorf(bus.CodeUnavailable, "the event stream cannot be read: %v", err).
			WithHint("live events go on; `blufio status` tells what is wrong")
	}
	return page, err
}

func (s *Service) page(ctx context.Context, q bus.EventQuery, wanted bus.Pattern) (bus.EventPage, error) {
	log, err := s.log.State(ctx)
	if err != nil {
		return bus.EventPage{}, err
	}
	events, err := s.stream.Events()
	if err != nil {
		return bus.EventPage{}, err
	}
	held, err := events.State(ctx)
	if err != nil {
		return bus.EventPage{}, err
	}
	r := reader{events: events, epoch: log.Epoch, held: held}
	p := bus.EventPage{Events: []bus.EventRecord{}, Epoch: log.Epoch, Last: q.After}
	first, err := r.ours(ctx, held.First)
	if err != nil || first == nil {
		return p, err
	}
	p.First = positionOf(first)
	from, err := r.search(ctx, func(m *jetstream.RawStreamMsg) bool {
		if q.Since != nil {
			return !m.Time.Before(*q.Since)
		}
		return positionOf(m) > q.After
	})
	if err != nil {
		return p, err
	}
	return p, r.fill(ctx, &p, from, pageSize(q.Limit), wanted)
}

func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

// reader reads the stream as it was when it was asked.
type reader struct {
	events *embedded.Events
	epoch  string
	held   embedded.State
}

// ours returns the first event of this log with the number from or a higher one.
func (r reader) ours(ctx context.Context, from uint64) (*jetstream.RawStreamMsg, error) {
	for from <= r.held.Last {
		m, err := r.events.Next(ctx, from)
		if err != nil || m == nil || m.Sequence > r.held.Last {
			return nil, err
		}
		if m.Header.Get(bus.HeaderEpoch) == r.epoch {
			return m, nil
		}
		from = m.Sequence + 1
	}
	return nil, nil
}

// search returns the number of the first event that behind accepts, which is
// false up to some event and true from there on.
func (r reader) search(ctx context.Context, behind func(*jetstream.RawStreamMsg) bool) (uint64, error) {
	low, high := r.held.First, r.held.Last+1
	for low < high {
		middle := low + (high-low)/2
		m, err := r.ours(ctx, middle)
		switch {
		case err != nil:
			return 0, err
		case m == nil || behind(m):
			high = middle
		default:
			low = m.Sequence + 1
		}
	}
	return low, nil
}

// fill adds events to the page until a bound is reached.
func (r reader) fill(ctx context.Context, p *bus.EventPage, from uint64, limit int, wanted bus.Pattern) error {
	bytes := 0
	for looked := 0; ; looked++ {
		m, err := r.ours(ctx, from)
		if err != nil || m == nil {
			return err
		}
		name := strings.TrimPrefix(m.Subject, bus.Prefix)
		match := wanted.Match(name)
		if looked == maxLooked || match && (len(p.Events) == limit || bytes+len(m.Data) > maxBytes && bytes > 0) {
			p.More = true
			return nil
		}
		p.Last, from = positionOf(m), m.Sequence+1
		if match {
			p.Events = append(p.Events, bus.EventRecord{Position: p.Last, Time: m.Time.UTC().Truncate(time.Millisecond), Event: name, Payload: m.Data})
			bytes += len(m.Data)
		}
	}
}

// positionOf is what the relay gave the event; 0 for one that it did not publish.
func positionOf(m *jetstream.RawStreamMsg) int64 {
	n, err := strconv.ParseInt(m.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
