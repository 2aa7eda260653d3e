// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go/micro"
)

// As many work as may and as there is work for; what is too much is refused; one stays, until the end.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers, bound, rounds = 3, 10, 200
		ctx, end := context.WithCancel(t.Context())
		var now, most, served atomic.Int64
		gate := make(chan struct{})
		c := newCrew(ctx, workers, bound, func(micro.Request) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-gate
			now.Add(-1)
			served.Add(1)
		})
		for range bound {
			if !c.take(nil) {
				t.Fatal("what there is room for is refused")
			}
		}
		if c.take(nil) || c.len() != bound {
			t.Errorf("more than %d are accepted: %d", bound, c.len())
		}
		synctest.Wait()
		close(gate)
		c.rests(t, 1)
		if served.Load() != bound || most.Load() != workers {
			t.Errorf("%d were served, %d at one time; want %d and %d", served.Load(), most.Load(), bound, workers)
		}
		var senders sync.WaitGroup
		var accepted atomic.Int64
		for range 4 {
			senders.Go(func() {
				for range rounds {
					if c.take(nil) {
						accepted.Add(1)
					}
				}
			})
		}
		senders.Wait()
		c.rests(t, 1)
		if served.Load() != bound+accepted.Load() {
			t.Errorf("%d were served of %d", served.Load(), bound+accepted.Load())
		}
		end()
		c.rests(t, 0)
	})
}

// What was accepted is served, though the end has come.
func TestCrewFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		var served atomic.Int64
		gate := make(chan struct{})
		c := newCrew(ctx, 1, 5, func(micro.Request) { <-gate; served.Add(1) })
		for range 5 {
			c.take(nil)
		}
		end()
		close(gate)
		c.rests(t, 0)
		if served.Load() != 5 {
			t.Errorf("%d were served of 5", served.Load())
		}
	})
}

// rests waits until nobody can go on, and wants nothing to do and so many workers.
func (c *crew) rests(t *testing.T, workers int) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accepted != 0 || c.workers != workers {
		t.Errorf("%d requests are left, and %d workers, want %d", c.accepted, c.workers, workers)
	}
}
