// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"context"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

// room is a service and what the house knows of it.
type room struct {
	service Service
	door    Door
	stop    context.CancelFunc
	done    chan struct{} // closed when keep has returned

	mu       sync.Mutex
	conn     *bus.Conn
	state    string
	was      bool // ready at least once
	restarts int
	lastErr  error
}

func (r *room) begin(ctx context.Context, h *House, started chan struct{}) {
	// The house ends rooms one by one, so a room's context does not end with ours.
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	r.done = make(chan struct{})
	var once sync.Once
	go func() {
		defer close(r.done)
		h.keep(ctx, r, func() { once.Do(func() { close(started) }) })
	}()
}

// end asks Run to return and waits for it: until ending, and when another room has
// used that up, for a moment of its own within ctx.
func (r *room) end(ctx, ending context.Context, own time.Duration) error {
	if r.done == nil {
		return nil // never begun
	}
	r.stop()
	select {
	case <-r.done:
		return nil
	case <-ending.Done():
	}
	moment, cancel := context.WithTimeout(ctx, own)
	defer cancel()
	select {
	case <-r.done:
		return nil
	case <-moment.Done():
		return ending.Err()
	}
}

func (r *room) drain(ctx context.Context) error {
	r.mu.Lock()
	conn := r.conn
	if r.state != stateFailed {
		r.state = stateStopped
	}
	r.mu.Unlock()
	if conn == nil {
		return nil
	}
	return conn.Drain(ctx)
}

func (r *room) hold(c *bus.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn = c
}

func (r *room) set(state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
	r.was = r.was || state == stateRunning
}

func (r *room) everReady() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.was
}

func (r *room) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.lastErr = stateRestarting, err
	r.restarts++
}
