// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

// link keeps the shell connected, also when the daemon starts again on other ports.
type link struct {
	app   *app
	heard linkEars

	mu      sync.Mutex
	conn    *bus.Conn     // nil while there is none
	changed chan struct{} // closed when conn changes
}

// linkEars is what the shell is told, from several goroutines. The functions may
// block for as long as the shell has other things to do.
type linkEars struct {
	lost  func()
	found func()
	gone  func(error) // it makes no sense to try again
	delta func(bus.Delta)
	reply func(bus.Reply)
}

// dial connects and listens.
func (l *link) dial(ctx context.Context) (*bus.Conn, error) {
	c, err := l.app.dial(bus.MessageReceive, bus.MessageGet, bus.MessageCancel, bus.AgentSessions, bus.AgentHistory)
	if err != nil {
		return nil, err
	}
	err = c.Handle(ctx,
		bus.MessageDelta.To(terminalChannel).On(func(_ context.Context, d bus.Delta) { l.heard.delta(d) }),
		bus.TerminalReply.On(func(_ context.Context, r bus.Reply) { l.heard.reply(r) }))
	if err != nil {
		hangUp(ctx, c)
		return nil, err
	}
	return c, nil
}

// keep holds the connection c, and another one after it, until ctx ends.
func (l *link) keep(ctx context.Context, c *bus.Conn) {
	for {
		l.set(c)
		select {
		case <-c.Closed():
		case <-ctx.Done():
		}
		l.set(nil)
		hangUp(ctx, c)
		if ctx.Err() != nil {
			return
		}
		l.heard.lost()
		var err error
		if c, err = l.again(ctx); err != nil {
			l.heard.gone(err)
			return
		}
		if c == nil {
			return
		}
		l.heard.found()
	}
}

// again tries until there is a connection. It returns nil when ctx ends.
func (l *link) again(ctx context.Context) (*bus.Conn, error) {
	for {
		c, err := l.dial(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				hangUp(ctx, c)
			}
			return nil, nil
		case err == nil:
			return c, nil
		case !passing(err):
			return nil, err
		}
		pause(ctx, dialAgain)
	}
}

func (l *link) set(c *bus.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
}

// now returns the connection, nil if there is none, and what is closed when that changes.
func (l *link) now() (*bus.Conn, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.conn, l.changed
}

// fetch asks until there is an answer, however often the connection breaks, or ctx
// ends. What it asks must be harmless to ask twice.
func fetch[T, R any](ctx context.Context, l *link, lane bus.Call[T, R], req T) (R, error) {
	for {
		var reply R
		var err error
		c, changed := l.now()
		if c == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return reply, ctx.Err()
			}
		}
		if reply, err = lane.Ask(ctx, c, req); err == nil || !passing(err) || !pause(ctx, dialAgain) {
			return reply, err
		}
	}
}

// outcome waits until a message is answered or given up. A reply that was said while
// nobody listened is found by asking: after every new connection and now and then.
func (l *link) outcome(ctx context.Context, id string, replied <-chan struct{}) (bus.MessageRecord, error) {
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		_, changed := l.now()
		r, err := fetch(ctx, l, bus.MessageGet, bus.MessageQuery{ID: id})
		if err != nil || finished(r.State) {
			return r, err
		}
		select {
		case <-replied:
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}
