// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"time"

	"github.com/blufio/blufio/bus"
)

// heardReplies bounds the replies that wait to be looked at. One that finds no room
// is asked for later.
const heardReplies = 64

// waiter delivers one message and waits for its reply, also across restarts of the
// daemon: it listens for the reply, and asks for it after every new connection and
// every few seconds, in case it was said while nobody listened.
type waiter struct {
	app     *app
	again   func(error) // hears, once a message, that it is not taken yet and handed over again; may be nil
	conn    *bus.Conn   // nil when not connected
	replies chan string
}

// connect makes sure that there is a connection, and that it listens for replies.
func (w *waiter) connect(ctx context.Context) error {
	if w.conn != nil && !w.conn.NATS().IsClosed() {
		return nil
	}
	w.conn = nil
	c, err := w.app.dial(bus.MessageReceive, bus.MessageGet)
	if err != nil {
		return err
	}
	replies := make(chan string, heardReplies)
	err = c.Handle(ctx, bus.TerminalReply.On(func(_ context.Context, r bus.Reply) {
		select {
		case replies <- r.MessageID:
		default: // it will be asked for
		}
	}))
	if err != nil {
		hangUp(ctx, c)
		return err
	}
	w.conn, w.replies = c, replies
	return nil
}

func (w *waiter) leave(ctx context.Context) {
	if w.conn != nil {
		hangUp(ctx, w.conn)
	}
}

// deliver hands the message over, again if the daemon is busy or its answer is lost:
// the external id makes it the same message.
func (w *waiter) deliver(ctx context.Context, m bus.Message) (bus.Accepted, error) {
	if err := w.connect(ctx); err != nil {
		return bus.Accepted{}, err // nobody is there: not worth waiting for
	}
	for told := w.again == nil; ; told = true {
		err := w.connect(ctx)
		if err == nil {
			var acc bus.Accepted
			if acc, err = bus.MessageReceive.Ask(ctx, w.conn, m); err == nil {
				return acc, nil
			}
		}
		if !passing(err) {
			return bus.Accepted{}, err
		}
		if !told {
			w.again(err)
		}
		if !pause(ctx, dialAgain) {
			return bus.Accepted{}, err
		}
	}
}

// outcome waits until the message is answered or given up.
func (w *waiter) outcome(ctx context.Context, id string) (bus.MessageRecord, error) {
	for {
		record, err := w.look(ctx, id)
		switch {
		case err == nil && finished(record.State):
			return record, nil
		case err != nil && !passing(err):
			return record, err
		case err != nil && !pause(ctx, dialAgain), err == nil && !w.hear(ctx, id):
			return record, ctx.Err()
		}
	}
}

// look asks what became of the message.
func (w *waiter) look(ctx context.Context, id string) (bus.MessageRecord, error) {
	if err := w.connect(ctx); err != nil {
		return bus.MessageRecord{}, err
	}
	return bus.MessageGet.Ask(ctx, w.conn, bus.MessageQuery{ID: id})
}

// hear waits until it makes sense to look again: the reply was said, the connection
// broke, or time has passed. It returns false when ctx ends.
func (w *waiter) hear(ctx context.Context, id string) bool {
	again := time.NewTimer(lookEvery)
	defer again.Stop()
	for {
		select {
		case replied := <-w.replies:
			if replied == id {
				return true
			}
		case <-w.conn.Closed():
			return true
		case <-again.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

func finished(state string) bool {
	return state == bus.StateAnswered || state == bus.StateFailed || state == bus.StateDead
}

// passing reports whether an error may be over in a moment: a busy room, or a daemon
// that is starting again.
func passing(err error) bool {
	code := explain(err).code
	return bus.Retryable(err) || code == exitNotRunning || code == exitNoAnswer
}

// pause waits for d; false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
