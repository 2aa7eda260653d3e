// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

const (
	replayPage  = 500                    // events asked for at once
	heardEvents = 4096                   // live events that wait to be shown; of more the stream has a copy
	redialEvery = 200 * time.Millisecond // between looks for a daemon that has gone
	openingTime = 3 * time.Second        // what the stream may take to open, once the daemon is there
	lagEvery    = 50 * time.Millisecond  // the stream stores an event a little after it is heard
	lagTries    = 6
)

// tail shows events in the order of their positions: replayed from the stream, then
// live, without a hole or a repetition between the two, across restarts of the daemon.
//
// It always asks for all events and chooses among them itself: only so do positions
// tell what is missing.
type tail struct {
	app     *app
	pattern bus.Pattern
	follow  bool
	replay  bool       // the past is asked for
	since   *time.Time // where it begins, while no position is known

	placed  bool      // last is known
	last    int64     // position up to which all was shown, passed over or said to be missing
	gone    int64     // the same of what was said to be missing
	epoch   string    // of these; "" before the first is known
	fresh   bool      // nothing was missed yet, wherever the first live event stands
	joined  bool      // some session has begun well
	contact time.Time // when the daemon was last there
	opening time.Duration
}

// run shows events until ctx ends or, without following, until the stream ends.
func (t *tail) run(ctx context.Context) error {
	lost := false
	for {
		err := t.session(ctx, func() {
			if lost {
				t.app.note("connected again")
			}
			t.joined, lost = true, false
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!t.joined || !t.follow || !passing(err)), err == nil && !t.follow:
			return err
		case !lost:
			t.app.note("connection lost, trying again …")
			lost = true
		}
		if !pause(ctx, redialEvery) {
			return nil
		}
	}
}

// session replays and follows on one connection. It is nil when the connection has
// ended, or when there is nothing to follow.
func (t *tail) session(ctx context.Context, joined func()) error {
	c, err := t.app.dial(bus.EventsRead)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	heard := make(chan *nats.Msg, heardEvents)
	var sub *nats.Subscription
	if t.follow { // before the replay, so that nothing falls between
		if sub, err = c.NATS().ChanSubscribe(bus.Facts, heard); err != nil {
			return unanswered(err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // what waits is not wanted any more
		if err := c.NATS().FlushTimeout(connectTimeout); err != nil {
			return unanswered(err)
		}
	}
	if err := t.start(ctx, c); err != nil {
		return err
	}
	joined()
	read := 0 // of the events dropped
	for t.follow {
		select {
		case m := <-heard:
			if err := t.live(ctx, c, m); err != nil {
				return err
			}
			if len(heard) > 0 {
				continue
			}
			if dropped, err := sub.Dropped(); err == nil && dropped > read {
				read = dropped
				if err := t.dropped(ctx, c); err != nil {
					return err
				}
			}
		case <-c.Closed():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// dropped shows what came while there was no room to wait, when perhaps nothing else
// happens that would tell of it. If the stream is closed, the next event does.
func (t *tail) dropped(ctx context.Context, c *bus.Conn) error {
	pause(ctx, lagTries*lagEvery) // for the stream to store the last of them
	err := t.catchUp(ctx, c, 0)
	if errors.Is(err, &bus.Error{Code: bus.CodeUnavailable}) && !c.NATS().IsClosed() {
		return nil
	}
	return err
}

// unanswered is the failure of a connection that broke.
func unanswered(err error) error { return fail(exitNoAnswer, hintHangs, "listen to events: %w", err) }

// start shows what is asked for of the past, and what was missed since the last
// session. Without a past it only finds out where the present begins. A stream that
// stays closed hinders nobody who does not need it.
func (t *tail) start(ctx context.Context, c *bus.Conn) error {
	opening, cancel := context.WithTimeout(ctx, t.opening)
	defer cancel()
	for {
		err := t.catchUp(ctx, c, 0)
		switch {
		case err == nil || c.NATS().IsClosed() || !errors.Is(err, &bus.Error{Code: bus.CodeUnavailable}):
			return err
		case t.joined:
			if pause(opening, redialEvery) {
				continue
			}
			t.app.note("the event stream is closed: what was missed is shown as soon as it is open")
			return nil
		case !t.replay:
			t.fresh = true
			return nil
		case !pause(opening, redialEvery):
			return err
		}
	}
}

// query asks for what is to be shown next. present tells that it is only about where
// the present begins.
func (t *tail) query() (q bus.EventQuery, present bool) {
	q = bus.EventQuery{Limit: replayPage}
	switch {
	case t.placed:
		q.After = t.last
	case t.replay:
		q.Since = t.since
	case t.joined: // nothing is known but since when something may be missing
		q.Since = &t.contact
	default:
		ahead := t.app.now().Add(24 * time.Hour)
		q.Since, present = &ahead, true
	}
	return q, present
}

// catchUp shows what the stream holds behind t.last, up to the position before; 0 is
// all there is.
func (t *tail) catchUp(ctx context.Context, c *bus.Conn, before int64) error {
	for {
		q, present := t.query()
		asked := t.app.now()
		p, err := bus.EventsRead.Ask(ctx, c, q)
		if err != nil {
			return err
		}
		if t.epoch != "" && p.Epoch != t.epoch {
			if err := t.renew(p.Epoch); err != nil {
				return err
			}
			continue
		}
		if q.After > p.Last && !t.joined {
			if !t.follow {
				return fail(exitFailed, "without --no-follow it is waited for", "position %d is not there yet: the newest is %d", q.After+1, p.Last)
			}
			t.app.note("position %d is not there yet: the newest is %d", q.After+1, p.Last)
		}
		t.epoch, t.fresh = p.Epoch, present
		more, err := t.page(p, before)
		if err != nil || !more {
			t.contact = asked
			return err
		}
	}
}

// page shows one page and reports whether to ask for the next.
func (t *tail) page(p bus.EventPage, before int64) (more bool, err error) {
	if !t.placed && !t.joined && t.since != nil && p.First > 1 && len(p.Events) > 0 && p.Events[0].Position == p.First {
		if err := t.gap(missing{1, p.First - 1, bus.GapNotStored}); err != nil { // some may be of the time that is asked for
			return false, err
		}
	}
	if t.placed && p.First > t.last+1 {
		to := p.First - 1
		if before > 0 {
			to = min(to, before-1)
		}
		if err := t.gap(missing{t.last + 1, to, bus.GapNotStored}); err != nil {
			return false, err
		}
	}
	for _, e := range p.Events {
		if before > 0 && e.Position >= before {
			return false, nil
		}
		if err := t.step(e); err != nil {
			return false, err
		}
	}
	t.placed, t.last = t.placed || p.First > 0, max(t.last, p.Last)
	return p.More, nil
}

// renew begins with the positions of another epoch. Of its events those were missed
// that happened since the daemon was last there.
func (t *tail) renew(epoch string) error {
	t.placed, t.last, t.gone, t.epoch, t.fresh = false, 0, 0, epoch, false
	since := t.contact
	t.since, t.replay = &since, true
	return t.app.tellEpoch(epoch)
}

// live shows an event that was just heard, after those that were missed before it.
func (t *tail) live(ctx context.Context, c *bus.Conn, m *nats.Msg) error {
	position, err := strconv.ParseInt(m.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil || position < 1 {
		return nil // not from the relay: it has no place
	}
	if epoch := m.Header.Get(bus.HeaderEpoch); t.epoch != epoch {
		if t.epoch == "" {
			t.epoch = epoch
		} else if err := t.renew(epoch); err != nil {
			return err
		}
	}
	switch {
	case t.fresh, !t.placed && t.since == nil:
		t.placed, t.fresh, t.last = true, false, position-1
	case t.placed && position <= t.last:
		return nil
	case !t.placed || position > t.last+1:
		if err := t.fill(ctx, c, position); err != nil {
			return err
		}
		if position <= t.last {
			return nil
		}
	}
	t.contact = t.app.now()
	return t.step(bus.EventRecord{Position: position, Time: t.contact.UTC().Truncate(time.Millisecond),
		Event: strings.TrimPrefix(m.Subject, bus.Prefix), Payload: m.Data})
}

// fill shows what was missed before a live event. The stream may still have to store it.
func (t *tail) fill(ctx context.Context, c *bus.Conn, before int64) error {
	why := "not heard, and " + bus.GapNotStored
	for range lagTries {
		err := t.catchUp(ctx, c, before)
		switch {
		case errors.Is(err, &bus.Error{Code: bus.CodeUnavailable}) && !c.NATS().IsClosed():
			why = "not heard, and the stream is closed"
		case err != nil:
			return err
		case t.last >= before-1:
			return nil
		}
		if !pause(ctx, lagEvery) {
			return ctx.Err()
		}
	}
	if !t.placed { // a new epoch, of which nothing else is known
		t.placed, t.last = true, before-1
		return nil
	}
	return t.gap(missing{t.last + 1, before - 1, why})
}

// step shows one event, if it is wanted, and tells what is missing before it.
func (t *tail) step(e bus.EventRecord) error {
	if t.placed && e.Position > t.last+1 {
		if err := t.gap(missing{t.last + 1, e.Position - 1, bus.GapNotStored}); err != nil {
			return err
		}
	}
	t.placed, t.last = true, e.Position
	if err := t.told(e); err != nil || !t.pattern.Match(e.Event) {
		return err
	}
	return t.app.tellEvent(e)
}

// told takes evt.stream.gap as what it says, wanted or not.
func (t *tail) told(e bus.EventRecord) error {
	if e.Event != bus.StreamGap.Spec().Name {
		return nil
	}
	var g bus.GapFact
	if err := json.Unmarshal(e.Payload, &g); err != nil {
		return nil // a newer daemon's; the event itself is shown
	}
	last := t.last
	err := t.gap(missing{g.From, g.To, g.Why})
	t.last = last
	return err
}

// gap says that positions are missing, each once, and goes on behind them.
func (t *tail) gap(m missing) error {
	t.last = max(t.last, m.To)
	if m.From = max(m.From, t.gone+1); m.From > m.To {
		return nil
	}
	t.gone = m.To
	return t.app.tellGap(m)
}
