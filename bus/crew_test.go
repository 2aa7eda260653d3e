// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"
)

// As many work as may and as there is work for; what is too much is refused; one stays, until the end.
func TestCrew(t *testing.T) {
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
	until(t, func() bool { return now.Load() == workers })
	for range bound {
		gate <- struct{}{}
	}
	until(t, func() bool { return served.Load() == bound && c.len() == 0 && c.staff() == 1 })
	if most.Load() != workers {
		t.Errorf("%d worked at one time, want %d", most.Load(), workers)
	}
	close(gate)
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
	until(t, func() bool { return served.Load() == bound+accepted.Load() && c.len() == 0 && c.staff() == 1 })
	end()
	until(t, func() bool { return c.staff() == 0 })
}

// What was accepted is served, though the end has come.
func TestCrewFinishes(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	var served atomic.Int64
	gate := make(chan struct{})
	c := newCrew(ctx, 1, 5, func(micro.Request) { <-gate; served.Add(1) })
	for range 5 {
		c.take(nil)
	}
	end()
	close(gate)
	until(t, func() bool { return served.Load() == 5 && c.staff() == 0 })
}

func (c *crew) staff() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers
}

func until(t *testing.T, true func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
	}
}
