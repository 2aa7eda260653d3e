// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	maxPending      = 256       // events that wait for one client
	maxPendingBytes = 256 << 10 // the same in bytes, unless it is a single one
	heartbeatEvery  = 15 * time.Second
	lagEvery        = 50 * time.Millisecond // the stream stores events a little later than they are heard
	lagTries        = 6
)

// getEvents tells the facts of the house as they happen, after those since the
// position the client has, without a hole in between.
func (f *front) getEvents(w http.ResponseWriter, r *request) error {
	q, from, err := f.readEventQuery(r)
	if err != nil {
		return err
	}
	pattern, err := bus.ParsePattern(q.Pattern)
	if err != nil {
		return err
	}
	leave, err := f.enterStream()
	if err != nil {
		return err
	}
	defer leave()
	feed, err := openFeed(r.Context(), f.conn)
	if err != nil {
		return err
	}
	defer feed.close()
	e := &events{front: f, r: r, feed: feed, query: q, pattern: pattern, positioned: from}
	if from { // before the head, so that a failure has its status
		if e.first, err = bus.EventsRead.Ask(r.Context(), f.conn, q); err != nil {
			return err
		}
	}
	e.out = f.openSSE(w)
	if r.Method == http.MethodHead {
		return nil
	}
	return e.run()
}

// readEventQuery reads what the client asks for. from says whether events of
// before are asked for. A client that comes back names the last event it has in
// Last-Event-ID, which therefore comes before the query.
func (f *front) readEventQuery(r *request) (q bus.EventQuery, from bool, err error) {
	query, err := r.query("after", "since", "pattern")
	if err != nil {
		return q, false, err
	}
	q.Limit = maxPage
	q.Pattern = query.Get("pattern")
	after, since := query.Get("after"), query.Get("since")
	if after != "" && since != "" {
		return q, false, invalid("give one of them", "after and since are both given")
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		after, since = id, ""
	}
	if since != "" {
		ago, err := time.ParseDuration(since)
		if err != nil || ago < 0 {
			return q, false, invalid(`write it like "1h"`, "since=%q is not a time span", shorten(since))
		}
		at := f.now().Add(-ago).UTC()
		q.Since = &at
		return q, true, nil
	}
	q.After, err = parseNumber("after", after, 0, 1<<62)
	return q, after != "", err
}

// events is one client's event stream.
type events struct {
	*front
	r       *request
	out     *sse
	feed    *feed
	query   bus.EventQuery
	pattern bus.Pattern // of the query

	positioned bool          // last means something
	first      bus.EventPage // the answer to query, when events of before are asked for
	last       int64         // position up to which the client was told
	foreign    int64         // position the client named and the stream has not reached; 0: none
}

// gapBody says that the events From to To, both included, were not told.
type gapBody struct {
	From int64  `json:"from"`
	To   int64  `json:"to"`
	Why  string `json:"why"`
}

func (e *events) run() error {
	if err := e.out.send([]byte("retry: 2000\n\n")); err != nil {
		return err
	}
	if e.positioned {
		if err := e.begin(); err != nil {
			return err
		}
	}
	beat := time.NewTicker(heartbeatEvery)
	defer beat.Stop()
	for {
		var err error
		select {
		case ev := <-e.feed.pending:
			e.feed.taken(ev)
			err = e.live(ev)
		case <-e.feed.overrun:
			return e.cutOff()
		case <-beat.C:
			err = e.out.comment("heartbeat")
		case <-e.draining:
			return nil // the client comes back with the last position
		case <-e.r.Context().Done():
			return context.Canceled
		}
		if err != nil {
			return err
		}
	}
}

// begin tells what the first page has, and all pages behind it.
func (e *events) begin() error {
	e.last = e.query.After
	if e.query.Since != nil && len(e.first.Events) > 0 {
		e.last = e.first.Events[0].Position - 1
	} else if e.query.Since != nil {
		e.last = e.first.Last
	}
	if e.first.Last < e.query.After {
		e.foreign = e.query.After
	}
	for page := e.first; ; {
		if err := e.page(page); err != nil || !page.More {
			return err
		}
		var err error
		if page, err = e.read(); err != nil {
			return e.broken(err)
		}
		if page.More && max(page.First, page.Last) <= e.last {
			return e.broken(errors.New("a page leads nowhere"))
		}
	}
}

// page tells one page.
func (e *events) page(p bus.EventPage) error {
	if p.First > e.last+1 {
		if err := e.gap(e.last+1, p.First-1, "they are no longer kept"); err != nil {
			return err
		}
		e.last = p.First - 1
	}
	for _, ev := range p.Events {
		if ev.Position <= e.last {
			continue
		}
		if err := e.tell(ev.Position, ev.Event, ev.Payload); err != nil {
			return err
		}
	}
	e.last = max(e.last, p.Last)
	return nil
}

func (e *events) read() (bus.EventPage, error) {
	return bus.EventsRead.Ask(e.r.Context(), e.conn, bus.EventQuery{After: e.last, Pattern: e.query.Pattern, Limit: e.query.Limit})
}

// broken ends a stream whose past cannot be read on: the client comes back.
func (e *events) broken(err error) error {
	e.log.Warn("event stream ended", "trace", e.r.trace, "err", err)
	return fmt.Errorf("read events: %w: %w", context.Canceled, err)
}

// live tells an event that was just heard.
func (e *events) live(ev heard) error {
	switch {
	case ev.position == 0: // said by a room itself: it has no place in the log
	case !e.positioned:
		e.positioned = true
	case e.foreign > 0 && ev.position <= e.foreign:
		if err := e.gap(ev.position, e.foreign, "positions count in another event log than the one asked for"); err != nil {
			return err
		}
		e.foreign = 0
	case ev.position <= e.last:
		return nil // told already
	case ev.position > e.last+1:
		if err := e.fill(ev.position - 1); err != nil {
			return err
		}
		if ev.position <= e.last {
			return nil
		}
	}
	if ev.position > 0 {
		e.last = ev.position
	}
	if !e.pattern.Match(ev.name) {
		return nil
	}
	return e.tell(ev.position, ev.name, ev.data)
}

// fill tells what was said between the past that was read and the first event
// heard. The stream may still have to store it.
func (e *events) fill(to int64) error {
	pause := time.NewTicker(lagEvery)
	defer pause.Stop()
	for range lagTries {
		page, err := e.read()
		if err != nil {
			return e.broken(err)
		}
		if err := e.page(page); err != nil || e.last >= to {
			return err
		}
		if page.More {
			continue
		}
		select {
		case <-pause.C:
		case <-e.draining:
			return nil
		case <-e.r.Context().Done():
			return context.Canceled
		}
	}
	return e.gap(e.last+1, to, "the stream has not stored them")
}

// cutOff ends the stream of a client that is too slow. It may come back.
func (e *events) cutOff() error {
	return e.gap(e.last+1, max(e.last+1, e.feed.newest.Load()), "this client is too slow: come back with Last-Event-ID")
}

// gap has no id: a client that comes back asks again from what it was told.
func (e *events) gap(from, to int64, why string) error {
	data, err := json.Marshal(gapBody{From: from, To: to, Why: why})
	if err != nil {
		return fmt.Errorf("encode gap: %w", err)
	}
	return e.out.event("gap", "", data)
}

func (e *events) tell(position int64, name string, data []byte) error {
	id := ""
	if position > 0 {
		id = strconv.FormatInt(position, 10)
	}
	return e.out.event(name, id, data)
}
