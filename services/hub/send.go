// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// may reports whether p may go out next: one alone until the stream has answered,
// none while an answer is late, and only so many bytes at once.
func (c *carrier) may(p *parcel) bool {
	switch n := len(c.flight); {
	case n == 0:
		return true
	case !c.open, n >= window:
		return false
	}
	bytes := len(p.msg.Data)
	for _, f := range c.flight {
		bytes += len(f.msg.Data)
	}
	return bytes <= windowBytes && time.Since(c.flight[0].sent) < c.s.bounds.stall
}

// send publishes a parcel, unless the stream has it already.
func (c *carrier) send(ctx context.Context, p *parcel) error {
	if c.has(ctx, p) {
		p.stored = true
		c.flight = append(c.flight, p)
		c.land()
		return nil
	}
	if err := c.put(p); err != nil {
		return err
	}
	c.flight = append(c.flight, p)
	c.s.flying.Store(int64(len(c.flight)))
	return nil
}

// put publishes a parcel with a subject of its own for the answer.
func (c *carrier) put(p *parcel) error {
	c.sending++
	token := fmt.Sprintf("%d-%d", c.round, c.sending)
	p.msg.Reply, p.sent = c.inbox+"."+token, time.Now()
	c.tokens[token] = p
	if err := c.nc.PublishMsg(p.msg); err != nil {
		return fmt.Errorf("publish to the hub: %w", err)
	}
	return nil
}

// take handles an answer. One to an earlier run changes nothing: its event is
// sent again, or was found to be there.
func (c *carrier) take(a ack) error {
	p := c.tokens[a.token]
	if p == nil {
		return nil
	}
	delete(c.tokens, a.token)
	switch {
	case a.tooLarge && p.lost == 0:
		return c.instead(p, a)
	case errors.Is(a.err, errNoStream) && !c.s.d.Server.HubConnected():
		return errAway
	case a.err != nil:
		return a.err
	}
	p.stored, c.open = true, true
	if a.stream != c.cursor.stream || a.domain != c.cursor.domain {
		c.cursor.stream, c.cursor.domain, c.dirty = a.stream, a.domain, true
	}
	c.s.failed(nil)
	c.s.meters.published.Inc()
	c.s.meters.lost.Add(float64(p.lost))
	c.land()
	return nil
}

// instead sends a gap for an event that the hub's stream will never take.
func (c *carrier) instead(p *parcel, a ack) error {
	c.s.d.Logger.Warn("an event is too large for the hub's stream", "service", "hub", "position", p.seq, "err", a.err)
	g := gap(c.me, c.cursor.epoch, p.seq, p.seq, "it is too large for the hub's stream", c.s.d.Now())
	p.msg, p.lost = g.msg, 1
	return c.put(p)
}

// land moves the cursor behind everything that has arrived.
func (c *carrier) land() {
	n := 0
	for n < len(c.flight) && c.flight[n].stored {
		c.cursor.seq, c.dirty = c.flight[n].seq, true
		n++
	}
	c.flight = append(c.flight[:0:0], c.flight[n:]...)
	c.s.flying.Store(int64(len(c.flight)))
	c.s.cursor.Store(c.cursor.seq)
}

// late fires when the oldest answer is overdue.
func (c *carrier) late() *time.Timer {
	if len(c.flight) == 0 {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTimer(time.Until(c.flight[0].sent.Add(c.s.bounds.ackWait)))
}
