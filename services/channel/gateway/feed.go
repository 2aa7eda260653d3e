// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

// heard is a fact as it came over the bus.
type heard struct {
	position int64  // in the event log; 0: it has none
	epoch    string // of the event log
	name     string // of the lane, "evt.turn.completed"
	data     []byte
}

// feed hears every fact for one client. It never makes the bus wait: when too
// much is pending it ends, and the client with it.
type feed struct {
	sub     *nats.Subscription
	pending chan heard
	overrun chan struct{} // closed when an event was dropped
	late    bool          // it was the daemon that could not keep up, not the client; for who found overrun closed
	once    sync.Once
	bytes   atomic.Int64          // pending
	newest  atomic.Int64          // position heard
	first   atomic.Pointer[place] // where the feed began; nil: nothing with a position was heard
}

// place is a position in an event log.
type place struct {
	epoch    string
	position int64
}

// openFeed listens. When it returns, the server knows: whatever is said from now
// on is heard. Facts that do not match are heard too, for their positions.
func openFeed(ctx context.Context, c *bus.Conn) (*feed, error) {
	f := &feed{pending: make(chan heard, maxPending), overrun: make(chan struct{})}
	nc := c.NATS()
	sub, err := bus.Listen(nc, bus.Facts, f.hear)
	if err != nil {
		return nil, fmt.Errorf("listen to facts: %w", err)
	}
	f.sub = sub
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		f.close()
		return nil, fmt.Errorf("listen to facts: %w", err)
	}
	return f, nil
}

func (f *feed) close() { _ = f.sub.Unsubscribe() } // it fails only when the connection has ended, and with it the subscription

func (f *feed) hear(m *nats.Msg) {
	position, err := strconv.ParseInt(m.Header.Get(bus.HeaderSeq), 10, 64)
	if err != nil {
		position = 0
	}
	ev := heard{position: position, epoch: m.Header.Get(bus.HeaderEpoch), name: strings.TrimPrefix(m.Subject, bus.Prefix), data: m.Data}
	dropped, _ := m.Sub.Dropped() // it fails without a connection, which drops nothing
	f.note(ev, int64(dropped))
	if closed(f.overrun) {
		return
	}
	if dropped > 0 { // behind this one is a hole, or before it
		f.end(true)
		return
	}
	size := int64(len(m.Data))
	if held := f.bytes.Add(size); held > maxPendingBytes && held > size {
		f.end(false)
		return
	}
	select {
	case f.pending <- ev:
	default:
		f.end(false)
	}
}

// note keeps where the feed began and how far it is. Before the first that is heard
// there may be a hole of as many as were dropped.
func (f *feed) note(ev heard, dropped int64) {
	if ev.position <= 0 {
		return
	}
	f.newest.Store(ev.position)
	if f.first.Load() == nil {
		f.first.Store(&place{epoch: ev.epoch, position: max(1, ev.position-dropped)})
	}
}

// end says that an event was dropped, the daemon being late or the client.
func (f *feed) end(late bool) {
	f.once.Do(func() {
		f.late = late
		close(f.overrun)
	})
}

// feeds are those of the streams that are open.
type feeds struct {
	mu   sync.Mutex
	open map[*feed]bool
}

// enter counts one until leave is called.
func (fs *feeds) enter(f *feed) (leave func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.open == nil {
		fs.open = map[*feed]bool{}
	}
	fs.open[f] = true
	return func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		delete(fs.open, f)
	}
}

// pending is how many events wait, for all clients together.
func (fs *feeds) pending() (n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.open {
		n += len(f.pending)
	}
	return n
}

// taken gives back the room of an event.
func (f *feed) taken(ev heard) { f.bytes.Add(-int64(len(ev.data))) }
