// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
)

// evidence is what the channel's health is judged by.
type evidence struct {
	failures atomic.Int64 // requests that failed for our reasons

	mu        sync.Mutex
	open      bool
	success   *time.Time // last message the agent accepted
	failure   *string    // last failure to serve
	failureAt *time.Time
}

func (e *evidence) listen(open bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open = open
}

func (e *evidence) listening() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open
}

func (e *evidence) succeeded(at time.Time) {
	at = at.UTC()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.success = &at
}

func (e *evidence) failed(message string, at time.Time) {
	at = at.UTC()
	e.failures.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failure, e.failureAt = &message, &at
}

// channel is the evidence as status shows it. A gateway that listens and that
// nobody uses is healthy; an old failure is no illness.
func (e *evidence) channel() bus.Channel {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := bus.Channel{Name: name, State: bus.Stopped, LastSuccess: e.success, LastError: e.failure, LastErrorAt: e.failureAt}
	if e.open {
		c.State = bus.Healthy
	}
	return c
}
