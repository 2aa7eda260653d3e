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
	once    sync.Once
	bytes   atomic.Int64 // pending
	newest  atomic.Int64 // position heard
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
	if position > 0 {
		f.newest.Store(position)
	}
	select {
	case <-f.overrun:
		return
	default:
	}
	if n, _ := m.Sub.Dropped(); n > 0 { // behind this one is a hole, or before it
		f.once.Do(func() { close(f.overrun) })
		return
	}
	size := int64(len(m.Data))
	if held := f.bytes.Add(size); held > maxPendingBytes && held > size {
		f.once.Do(func() { close(f.overrun) })
		return
	}
	select {
	case f.pending <- heard{position: position, epoch: m.Header.Get(bus.HeaderEpoch), name: strings.TrimPrefix(m.Subject, bus.Prefix), data: m.Data}:
	default:
		f.once.Do(func() { close(f.overrun) })
	}
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
