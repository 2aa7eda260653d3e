// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	maxPending      = 256                   // events that wait for one client
	maxPendingBytes = 256 << 10             // the same in bytes, unless it is a single one
	lagEvery        = 50 * time.Millisecond // the stream stores events a little later than they are heard
	lagTries        = 6
)

// getEvents tells the facts of the house as they happen, after those since the
// position the client has, without a hole in between.
func (f *front) getEvents(w http.ResponseWriter, r *request) error {
	q, epoch, from, err := f.readEventQuery(r)
	if err != nil {
		return err
	}
	pattern, err := bus.ParsePattern(q.Pattern)
	if err != nil {
		return err
	}
	if !pattern.Known() {
		return invalid("use a name as turn.completed, turn.* or budget.>", "no event is called %q", shorten(q.Pattern))
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
	defer f.feeds.enter(feed)()
	e := &events{front: f, r: r, feed: feed, query: q, pattern: pattern, positioned: from}
	if from { // before the head, so that a failure has its status
		if err := e.ask(epoch); err != nil {
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
// before are asked for, and epoch in which event log After counts, "" for whichever
// there is. A client that comes back names the last event it has in Last-Event-ID,
// which therefore comes before the query.
func (f *front) readEventQuery(r *request) (q bus.EventQuery, epoch string, from bool, err error) {
	query, err := r.query("after", "since", "pattern")
	if err != nil {
		return q, "", false, err
	}
	q.Limit = maxPage
	q.Pattern = query.Get("pattern")
	after, since := query.Get("after"), query.Get("since")
	if after != "" && since != "" {
		return q, "", false, invalid("give one of them", "after and since are both given")
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		after, since = id, ""
	}
	if since != "" {
		ago, err := time.ParseDuration(since)
		if err != nil || ago < 0 {
			return q, "", false, invalid(`write it like "1h"`, "since=%q is not a time span", shorten(since))
		}
		at := f.now().Add(-ago).UTC()
		q.Since = &at
		return q, "", true, nil
	}
	position := after
	if log, number, ok := strings.Cut(after, "-"); ok && log != "" {
		epoch, position = log, number
	}
	q.After, err = parseNumber("after", position, 0, 1<<62)
	return q, epoch, after != "", err
}

// brief is an epoch as event ids carry it.
func brief(epoch string) string { return epoch[:min(8, len(epoch))] }

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
	epoch      string        // of the event log in which last counts
	last       int64         // position up to which the client was told
	foreign    int64         // position the client named without a log, and that this one has not reached; 0: none
	lost       int64         // position the client named in a log that is no more; -1: none
}

// gapBody says that the events From to To, both included, were not told. To is 0
// when nobody knows how many they are, and From when nobody knows which.
type gapBody struct {
	From int64  `json:"from"`
	To   int64  `json:"to"`
	Why  string `json:"why"`
}

// anotherLog is why nothing more is known of the positions a client had.
const anotherLog = "the event log is another one: it is told from its beginning"

// What ends a stream, beside its client.
var (
	errStopping = errors.New("the gateway is stopping")
	errOver     = errors.New("the token is no longer valid")
)

// ask reads the first page. Who counts in a log of another epoch gets this one from
// its beginning.
func (e *events) ask(epoch string) (err error) {
	e.lost = -1
	if e.first, err = bus.EventsRead.Ask(e.r.Context(), e.conn, e.query); err != nil {
		return err
	}
	e.epoch = e.first.Epoch
	switch {
	case epoch != "" && epoch != brief(e.epoch):
		e.lost, e.query.After = e.query.After, 0
		e.first, err = bus.EventsRead.Ask(e.r.Context(), e.conn, e.query)
	case epoch == "" && e.first.Last < e.query.After:
		e.foreign = e.query.After
	}
	return err
}

func (e *events) run() error {
	err := e.tellAll()
	switch {
	case errors.Is(err, errStopping):
		return nil // the client comes back with the last position
	case errors.Is(err, errOver):
		return e.out.comment(e.farewell(e.r.pass).message)
	}
	return err
}

func (e *events) tellAll() error {
	if err := e.out.send([]byte("retry: 2000\n\n")); err != nil {
		return err
	}
	if e.positioned {
		if err := e.begin(); err != nil {
			return err
		}
	}
	beat := time.NewTicker(e.every.heartbeat)
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
		case <-e.r.pass.over:
			return errOver
		case <-e.draining:
			return errStopping
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
	if e.lost >= 0 {
		if err := e.gap("", e.lost+1, 0, anotherLog); err != nil {
			return err
		}
	}
	e.last = e.query.After
	if e.query.Since != nil && len(e.first.Events) > 0 {
		e.last = e.first.Events[0].Position - 1
	} else if e.query.Since != nil {
		e.last = e.first.Last
	}
	for page := e.first; ; {
		if err := e.page(page); err != nil || !page.More {
			return err
		}
		var err error
		if page, err = e.read(); err != nil {
			return e.broken(err)
		}
		if page.Epoch != e.epoch {
			return e.broken(errors.New("the event log was replaced"))
		}
		if page.More && max(page.First, page.Last) <= e.last {
			return e.broken(errors.New("a page leads nowhere"))
		}
	}
}

// page tells one page.
func (e *events) page(p bus.EventPage) error {
	if p.First > e.last+1 {
		if err := e.gap("", e.last+1, p.First-1, "they are no longer kept"); err != nil {
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
	if other := ev.epoch != e.epoch || ev.position <= e.foreign; ev.position > 0 && e.positioned && other {
		if err := e.gap("", max(e.last, e.foreign)+1, 0, anotherLog); err != nil {
			return err
		}
		e.last, e.foreign, e.epoch = 0, 0, ev.epoch
	}
	switch {
	case ev.position == 0: // said by a room itself: it has no place in the log
	case !e.positioned:
		e.positioned, e.epoch = true, ev.epoch
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
	for tries := 0; tries < lagTries; {
		page, err := e.read()
		if err != nil {
			return e.broken(err)
		}
		before := e.last
		if page.Epoch == e.epoch {
			err = e.page(page)
		}
		if err != nil || e.last >= to {
			return err
		}
		if e.last > before && page.More {
			continue
		}
		tries++
		select {
		case <-pause.C:
		case <-e.r.pass.over:
			return errOver
		case <-e.draining:
			return errStopping
		case <-e.r.Context().Done():
			return context.Canceled
		}
	}
	return e.gap("", e.last+1, to, "the stream has not stored them")
}

// What a stream that is cut off is told.
const (
	tooSlow = "this client is too slow: come back with Last-Event-ID"
	tooLate = "the daemon could not keep up: come back with Last-Event-ID"
)

// cutOff ends the stream of a client that is too slow, or for which the daemon is. It
// may come back: this gap has the id of what is before it, for one that was told
// nothing has no other. Such a one misses everything since the feed began.
func (e *events) cutOff() error {
	why := tooSlow
	if e.feed.late {
		why = tooLate
	}
	if first := e.feed.first.Load(); !e.positioned && first != nil {
		e.positioned, e.epoch, e.last = true, first.epoch, first.position-1
	}
	if !e.positioned {
		return e.gap("", 0, 0, why) // nothing has a position yet
	}
	id := e.id(e.last)
	if e.foreign > 0 {
		id = "" // whether it counts in this log is not known
	}
	return e.gap(id, e.last+1, max(e.last+1, e.feed.newest.Load()), why)
}

// gap has no id within a stream: a client that comes back asks again from what it was
// told.
func (e *events) gap(id string, from, to int64, why string) error {
	data, err := json.Marshal(gapBody{From: from, To: to, Why: why})
	if err != nil {
		return fmt.Errorf("encode gap: %w", err)
	}
	return e.out.event("gap", id, data)
}

// id names a position of the log that last counts in.
func (e *events) id(position int64) string {
	id := strconv.FormatInt(position, 10)
	if e.epoch != "" {
		id = brief(e.epoch) + "-" + id
	}
	return id
}

func (e *events) tell(position int64, name string, data []byte) error {
	id := ""
	if position > 0 {
		id = e.id(position)
	}
	if closed(e.r.pass.over) {
		return errOver // also in the middle of a long past
	}
	return e.out.event(name, id, data)
}
