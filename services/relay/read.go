// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
)

// Bounds of one answer to ctl.events.read.
const (
	defaultPage = 100
	maxPage     = 500
	maxLooked   = 5_000          // messages looked at, whether they are wanted or not
	maxBytes    = 512 << 10      // of payload: half of what the bus carries
	maxAlone    = 1<<20 - 16<<10 // of one payload, beside what the page says of it
	maxStray    = 100            // messages without a position that a search looks past
)

// read answers a page of the stream.
//
// Positions of one epoch grow with the stream's own numbers, so the first event
// of a page is found by halving. Three things disturb that order. They neither
// keep a page from ending nor make it say what is not so:
//
//   - Events of another epoch, left by a database that was replaced, lie before
//     all of this one. They are passed over; their positions say nothing.
//   - When a database was replaced and then put back, its events may be in the
//     stream twice. An event not behind those already told is passed over.
//   - Messages that were not published by the relay have no position. They are
//     passed over.
//
// Since counts by the clock that the events were stored by.
func (s *Service) read(ctx context.Context, q bus.EventQuery) (bus.EventPage, error) {
	pattern, err := bus.ParsePattern(q.Pattern)
	switch {
	case err != nil:
		return bus.EventPage{}, err
	case q.After < 0:
		return bus.EventPage{}, bus.Errorf(bus.CodeInvalid, "positions count from 1")
	case q.After > 0 && q.Since != nil:
		return bus.EventPage{}, bus.Errorf(bus.CodeInvalid, "after and since exclude each other")
	}
	page, err := s.page(ctx, q, pattern)
	if err != nil && ctx.Err() == nil {
		return bus.EventPage{}, bus.Errorf(bus.CodeUnavailable, "the event stream cannot be read: %v", err).
			WithHint("live events go on; `blufio status` tells what is wrong")
	}
	return page, err
}

func (s *Service) page(ctx context.Context, q bus.EventQuery, pattern bus.Pattern) (bus.EventPage, error) {
	events := s.reading.Load()
	if events == nil || errors.Is(s.progress.trouble(), errNotOpen) {
		return bus.EventPage{}, errNotOpen // until the stream was compared with the log, the epoch may not be that of its events
	}
	log, err := s.log.State(ctx)
	if err != nil {
		return bus.EventPage{}, err
	}
	held, err := events.State(ctx)
	if err != nil {
		return bus.EventPage{}, err
	}
	r := reader{events: events, epoch: log.Epoch, held: held}
	p := bus.EventPage{Events: []bus.EventRecord{}, Epoch: log.Epoch}
	from, err := r.start(ctx, &p, q)
	if err != nil {
		return p, err
	}
	return p, r.fill(ctx, &p, from, pageSize(q.Limit), pattern)
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

// start finds the oldest position, the number of the message that the page
// begins with, and the position before that.
func (r reader) start(ctx context.Context, p *bus.EventPage, q bus.EventQuery) (from uint64, err error) {
	oldest, err := r.oldest(ctx)
	if err != nil {
		return 0, err
	}
	if p.First, err = r.at(ctx, oldest); err != nil {
		return 0, err
	}
	from = oldest
	switch {
	case q.Since != nil:
		from, err = r.search(ctx, func(at time.Time, _ int64) bool { return !at.Before(*q.Since) })
	case q.After >= p.First:
		from, err = r.after(ctx, oldest+uint64(q.After-p.First), q.After)
	}
	if err != nil {
		return 0, err
	}
	from = max(from, oldest)
	p.Last, err = r.before(ctx, from)
	if q.Since == nil && from <= r.held.Last {
		p.Last = q.After
	}
	return from, err
}

// oldest returns the number of the first of our events: mostly the first of all.
func (r reader) oldest(ctx context.Context) (uint64, error) {
	first := max(r.held.First, 1)
	if position, err := r.at(ctx, first); err != nil || position > 0 {
		return first, err
	}
	return r.search(ctx, func(_ time.Time, position int64) bool { return position > 0 })
}

// after returns the number of the first event behind a position. The guess is
// the number that the position has where no event is missing.
func (r reader) after(ctx context.Context, guess uint64, position int64) (uint64, error) {
	if guess < r.held.Last {
		if there, err := r.at(ctx, guess); err != nil || there == position {
			return guess + 1, err
		}
	}
	return r.search(ctx, func(_ time.Time, there int64) bool { return there > position })
}

// search returns the number of the first message that beyond accepts. It is
// false up to some message and true from there on; position is 0 for one of
// another epoch.
func (r reader) search(ctx context.Context, beyond func(at time.Time, position int64) bool) (uint64, error) {
	low, high := max(r.held.First, 1), r.held.Last+1
	for low < high {
		middle := low + (high-low)/2
		m, err := r.placed(ctx, middle, high)
		switch {
		case err != nil:
			return 0, err
		case m == nil || beyond(m.Time, r.position(*m)):
			high = middle
		default:
			low = m.Seq + 1
		}
	}
	return low, nil
}

// placed returns the first message from a number on, and before another, that
// the relay published; nil when there is none.
func (r reader) placed(ctx context.Context, from, before uint64) (*embedded.Stored, error) {
	for size := 1; ; size = maxStray {
		got, err := r.events.Read(ctx, from, size, maxBytes)
		if err != nil || len(got) == 0 {
			return nil, err
		}
		for _, m := range got {
			if m.Seq >= before {
				return nil, nil
			}
			if m.Header.Get(bus.HeaderEpoch) != "" {
				return &m, nil
			}
		}
		if size == maxStray {
			return &got[len(got)-1], nil // a crowd without positions counts as another epoch
		}
	}
}

// at returns the position of the message with that number, 0 if it is not ours
// or not there.
func (r reader) at(ctx context.Context, seq uint64) (int64, error) {
	if seq > r.held.Last {
		return 0, nil
	}
	m, err := r.placed(ctx, seq, r.held.Last+1)
	if err != nil || m == nil {
		return 0, err
	}
	return r.position(*m), nil
}

// before returns the position of the newest of our events before a number.
func (r reader) before(ctx context.Context, seq uint64) (position int64, err error) {
	low := max(r.held.First, 1, seq-min(seq, maxStray))
	for low < seq {
		got, err := r.events.Read(ctx, low, int(seq-low), maxBytes)
		if err != nil || len(got) == 0 {
			return position, err
		}
		for _, m := range got {
			if m.Seq < seq {
				position = max(position, r.position(m))
			}
		}
		low = got[len(got)-1].Seq + 1
	}
	return position, nil
}

// position is what the relay gave a message of this epoch, 0 for any other.
func (r reader) position(m embedded.Stored) int64 {
	if m.Header.Get(bus.HeaderEpoch) != r.epoch {
		return 0
	}
	n, err := strconv.ParseInt(m.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// fill adds events to the page, from a number on, until a bound is reached.
func (r reader) fill(ctx context.Context, p *bus.EventPage, from uint64, limit int, pattern bus.Pattern) error {
	bytes := 0
	for looked := 0; from <= r.held.Last; {
		got, err := r.events.Read(ctx, from, min(maxPage+1, maxLooked-looked), maxBytes)
		if err != nil || len(got) == 0 {
			return err
		}
		for _, m := range r.ours(got) {
			if r.position(m) <= p.Last {
				continue
			}
			if pattern.Match(eventName(m)) {
				record := r.record(m)
				if len(p.Events) == limit || bytes > 0 && bytes+len(record.Payload) > maxBytes {
					p.More = true
					return nil
				}
				p.Events, bytes = append(p.Events, record), bytes+len(record.Payload)
			}
			p.Last = r.position(m)
		}
		from = got[len(got)-1].Seq + 1
		if looked += len(got); looked >= maxLooked {
			p.More = from <= r.held.Last
			return nil
		}
	}
	return nil
}

// ours returns the events of this epoch in the order of their positions.
func (r reader) ours(got []embedded.Stored) []embedded.Stored {
	got = slices.DeleteFunc(slices.Clone(got), func(m embedded.Stored) bool { return r.position(m) == 0 })
	slices.SortStableFunc(got, func(a, b embedded.Stored) int { return cmp.Compare(r.position(a), r.position(b)) })
	return got
}

// record is the event as a page tells it. What is not JSON, or would not fit
// into an answer, is told without its payload.
func (r reader) record(m embedded.Stored) bus.EventRecord {
	payload := json.RawMessage(m.Data)
	if len(m.Data) > maxAlone || !json.Valid(m.Data) {
		payload = json.RawMessage("null")
	}
	return bus.EventRecord{Position: r.position(m), Time: m.Time.UTC().Truncate(time.Millisecond), Event: eventName(m), Payload: payload}
}

func eventName(m embedded.Stored) string { return strings.TrimPrefix(m.Subject, bus.Prefix) }
