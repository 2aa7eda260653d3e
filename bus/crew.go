// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/micro"
)

// crew works off the requests of one endpoint, so many at one time, and so many more wait. One worker stays when there is
// nothing to do: its stack has the size that the work takes, which a new one would have to grow to every time.
type crew struct {
	serve func(micro.Request)
	end   context.Context // lets the last worker go
	queue chan micro.Request
	most  int // workers

	mu       sync.Mutex
	accepted int // waiting or under way
	workers  int
}

func newCrew(end context.Context, workers, bound int, serve func(micro.Request)) *crew {
	return &crew{serve: serve, end: end, most: workers, queue: make(chan micro.Request, bound)}
}

// take accepts a request, unless too many are there.
func (c *crew) take(r micro.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accepted == cap(c.queue) {
		return false
	}
	c.accepted++
	c.queue <- r // there is room: those under way take none
	if c.workers < min(c.accepted, c.most) {
		c.workers++
		go c.work()
	}
	return true
}

// work serves until there is less to do than there are workers. The last one stays.
func (c *crew) work() {
	for {
		select {
		case r := <-c.queue:
			c.serve(r)
			if c.done() {
				return
			}
		case <-c.end.Done():
			if c.left() {
				return
			}
		}
	}
}

// done counts a request that is finished, and reports whether its worker goes.
func (c *crew) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted--
	if c.workers == 1 || c.workers <= c.accepted {
		return false
	}
	c.workers--
	return true
}

// left reports whether a worker may go at the end: what was accepted is served before.
func (c *crew) left() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) > 0 {
		return false
	}
	c.workers--
	return true
}

func (c *crew) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.accepted
}
