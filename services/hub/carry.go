// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

const (
	window      = 64      // events on their way
	windowBytes = 1 << 20 // of their payload, or one larger one
	page        = 200     // events read at once
	readWait    = 5 * time.Second
	saveWait    = time.Second          // for the cursor, at the end
	again       = 5 * time.Millisecond // to look for an event that was heard and cannot be read yet
	lookWait    = 2 * time.Second
)

// carrier takes events to the hub. Only its own goroutine uses it.
type carrier struct {
	s    *Service
	conn *bus.Conn  // the house
	nc   *nats.Conn // the hub
	me   string

	cursor  cursor
	began   bool        // the cursor is known
	dirty   bool        // and not stored
	unsaved atomic.Bool // the last attempt to store it failed

	// One go at it, from the cursor until something fails.
	round   int
	next    int64     // position read
	last    string    // the subject of what was read last
	queue   []*parcel // read and not sent, at most a page
	flight  []*parcel // sent and not done, at most window, oldest first
	idle    bool      // the last page was the newest
	open    bool      // an acknowledgement has come
	blind   bool      // the stream does not tell what it has
	held    map[string]int64
	sending int // counts the messages of this run
	tokens  map[string]*parcel

	inbox string
	acks  chan ack
	wake  chan struct{}
}

func newCarrier(s *Service, conn *bus.Conn, nc *nats.Conn) *carrier {
	return &carrier{s: s, conn: conn, nc: nc, me: s.d.Server.Leaf().Node(),
		inbox: nc.NewInbox(), acks: make(chan ack, 4*window), wake: make(chan struct{}, 1)}
}

// run carries until ctx ends, and then what was recorded while the house stopped.
func (c *carrier) run(ctx context.Context) error {
	unlisten, err := c.listen()
	if err != nil {
		return err
	}
	defer unlisten()
	pause := c.s.bounds.retryFirst
	for ctx.Err() == nil {
		err := c.carry(ctx)
		if c.open || errors.Is(err, errAway) {
			pause = c.s.bounds.retryFirst
		}
		if ctx.Err() != nil {
			break
		}
		c.s.failed(err)
		c.s.d.Logger.Debug("events wait for the hub", "service", "hub", "err", err)
		c.rest(ctx, pause)
		pause = min(2*pause, c.s.bounds.retryMost)
	}
	return c.leave(ctx)
}

// listen hears what wakes the carrier, and the stream's answers.
func (c *carrier) listen() (unlisten func(), err error) {
	facts, err := bus.Listen(c.conn.NATS(), bus.Facts, c.heard)
	if err != nil {
		return nil, fmt.Errorf("listen to facts: %w", err)
	}
	if _, err := bus.Listen(c.nc, c.inbox+".*", c.answered); err != nil {
		return nil, fmt.Errorf("listen for acknowledgements: %w", err)
	}
	return func() { _ = facts.Unsubscribe() }, nil // it fails only with the connection
}

// heard notes that there is something to read.
func (c *carrier) heard(m *nats.Msg) {
	if seq, err := strconv.ParseInt(m.Header.Get(bus.HeaderSeq), 10, 64); err == nil {
		c.s.newest.Store(max(seq, c.s.newest.Load()))
	}
	select {
	case c.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// answered passes an answer on. There is room for more than can be awaited.
func (c *carrier) answered(m *nats.Msg) {
	a := readAck(m)
	a.token = strings.TrimPrefix(m.Subject, c.inbox+".")
	select {
	case c.acks <- a:
	default: // an answer that nobody can be waiting for any more
	}
}

// rest waits after trouble, not longer than until the hub is joined again.
func (c *carrier) rest(ctx context.Context, pause time.Duration) {
	after := time.NewTimer(pause)
	defer after.Stop()
	tick := time.NewTicker(c.s.bounds.watch)
	defer tick.Stop()
	for ready := c.ready() == nil; ; {
		select {
		case <-after.C:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := c.ready() == nil; now && !ready {
			return
		} else {
			ready = now
		}
	}
}

// ready is nil while events may go out.
func (c *carrier) ready() error {
	switch now := c.s.d.Now(); {
	case !c.s.d.Server.HubConnected():
		return errAway
	case c.s.name.conflict(now):
		return errConflict
	case !c.s.name.ours(now):
		return errAway // just joined
	}
	return nil
}

// carry works from the cursor on until something fails.
func (c *carrier) carry(ctx context.Context) error {
	c.reset()
	if err := c.begin(ctx); err != nil {
		return err
	}
	look := time.NewTicker(c.s.bounds.poll)
	defer look.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for hurry := time.Duration(0); ; {
		if err := c.ready(); err != nil {
			return err
		}
		if err := c.push(ctx); err != nil {
			return err
		}
		// An event is heard a moment before it can be read.
		if c.idle && c.next < c.s.newest.Load() {
			hurry = min(max(2*hurry, again), c.s.bounds.poll)
			retry.Reset(hurry)
		} else {
			hurry = 0
		}
		late := c.late()
		select {
		case <-ctx.Done():
			late.Stop()
			return ctx.Err()
		case a := <-c.acks:
			if err := c.take(a); err != nil {
				late.Stop()
				return err
			}
		case <-late.C:
			return errNoAck
		case <-c.wake:
			c.idle = false
		case <-retry.C:
			c.idle = false
		case <-look.C:
			c.idle = false
			c.save()
		}
		late.Stop()
	}
}

// reset forgets what was under way: what is not acknowledged is sent again.
func (c *carrier) reset() {
	c.round++
	c.next, c.queue, c.flight, c.idle, c.open, c.blind, c.sending = c.cursor.seq, nil, nil, false, false, false, 0
	c.held, c.tokens = map[string]int64{}, map[string]*parcel{}
	c.s.flying.Store(0)
}

// begin finds the cursor. The very first time it is the oldest event that there
// is; noted before the hub is reached, so that what goes missing from then on is
// told.
func (c *carrier) begin(ctx context.Context) error {
	if c.began {
		return nil
	}
	at, found, err := loadCursor(ctx, c.s.d.Store)
	if err != nil {
		return err
	}
	if !found {
		p, err := c.read(ctx, 0, 1)
		if err != nil {
			return err
		}
		at = cursor{epoch: p.Epoch, seq: max(0, p.First-1)}
		if err := c.s.d.Store.Write(ctx, at.write); err != nil {
			return fmt.Errorf("note the hub's cursor: %w", err)
		}
	}
	c.cursor, c.next, c.began = at, at.seq, true
	c.s.cursor.Store(at.seq)
	return nil
}

func (c *carrier) read(ctx context.Context, after int64, limit int) (bus.EventPage, error) {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	p, err := bus.EventsRead.Ask(ctx, c.conn, bus.EventQuery{After: after, Limit: limit})
	if err != nil {
		return p, fmt.Errorf("%w: %w", errUnread, err)
	}
	return p, nil
}

// push sends as much as may be on its way, and reads when there is nothing to send.
func (c *carrier) push(ctx context.Context) error {
	for {
		if len(c.queue) == 0 && !c.idle {
			if err := c.fill(ctx); err != nil {
				return err
			}
		}
		if len(c.queue) == 0 || !c.may(c.queue[0]) {
			return nil
		}
		if err := c.send(ctx, c.queue[0]); err != nil {
			return err
		}
		c.queue = c.queue[1:]
		if len(c.acks) > 0 {
			return nil // what they say comes first
		}
	}
}

// fill reads the next page.
func (c *carrier) fill(ctx context.Context) error {
	p, err := c.read(ctx, c.next, page)
	if err != nil {
		return err
	}
	if p.Epoch != c.cursor.epoch {
		// Positions go on when a database is put back, under a new epoch.
		c.cursor.epoch = p.Epoch
		clear(c.held)
	}
	c.s.newest.Store(max(p.Last, c.s.newest.Load()))
	c.queue = pack(c.me, p, c.next, c.s.d.Now())
	c.idle = !p.More
	if n := len(c.queue); n > 0 {
		c.next, c.last = c.queue[n-1].seq, c.queue[n-1].msg.Subject
	} else if p.More {
		return fmt.Errorf("%w: a page of it has nothing new", errUnread)
	}
	return nil
}
