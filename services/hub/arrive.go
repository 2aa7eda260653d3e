// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// has reports whether the stream holds the parcel: an acknowledgement may have
// been lost with a connection, longer ago than the stream remembers message ids.
// It is asked once for each lane and run: events of one lane are stored in order,
// so the newest position of the lane tells of all before.
func (c *carrier) has(ctx context.Context, p *parcel) bool {
	if c.blind || c.cursor.stream == "" || c.cursor.domain == "" {
		return false
	}
	last, asked := c.held[p.msg.Subject]
	if !asked {
		last = c.lookUp(ctx, p.msg.Subject)
		c.held[p.msg.Subject] = last
	}
	return p.seq <= last
}

// lookUp asks for the newest position of one lane, 0 for none. A hub that does not
// answer is not asked again in this run.
func (c *carrier) lookUp(ctx context.Context, subject string) int64 {
	look, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	m, err := c.nc.RequestWithContext(look, bus.NodeLast(c.cursor.domain, c.cursor.stream, subject), nil)
	if err != nil {
		if c.blind = true; ctx.Err() != nil {
			return 0
		}
		c.s.d.Logger.Info("the hub does not tell what its stream holds; its duplicate window must do", "service", "hub", "err", err)
		return 0
	}
	if m.Header.Get(bus.HeaderEpoch) != c.cursor.epoch {
		return 0 // none, or one of another database
	}
	seq, err := strconv.ParseInt(m.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil {
		return 0
	}
	return seq
}

// save notes the cursor with the next commit.
func (c *carrier) save() {
	if !c.unsaved.Swap(false) && !c.dirty {
		return
	}
	note := func(err error) { c.unsaved.Store(c.unsaved.Load() || err != nil) }
	if err := c.s.d.Store.WriteLazy(c.cursor.write, note); err != nil {
		note(err)
	}
	c.dirty = false
}

// leave carries what the rooms recorded while they stopped, and notes the cursor.
func (c *carrier) leave(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if c.began && c.ready() == nil {
		within, cancel := context.WithTimeout(ctx, c.s.bounds.parting)
		c.farewell(within)
		cancel()
	}
	if !c.began {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, saveWait)
	defer cancel()
	if err := c.s.d.Store.Write(within, func(tx *sqlite.Tx) error { return c.cursor.write(tx) }); err != nil {
		return fmt.Errorf("note the hub's cursor: %w", err)
	}
	return nil
}

// farewell carries until the daemon's last word has arrived, or something fails.
func (c *carrier) farewell(ctx context.Context) {
	c.reset()
	again := time.NewTicker(again)
	defer again.Stop()
	for c.push(ctx) == nil {
		if len(c.queue)+len(c.flight) == 0 && c.idle && c.last == bus.NodeSubject(c.me, bus.DaemonStopping.Spec().Name) {
			return
		}
		select {
		case a := <-c.acks:
			if c.take(a) != nil {
				return
			}
		case <-again.C:
			c.idle = false
		case <-ctx.Done():
			return
		}
	}
}
