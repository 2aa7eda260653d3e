// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// waiter is one call in flight, kept so that a denial can end it.
type waiter struct {
	subject string
	cancel  context.CancelFunc
	denied  bool // guarded by Conn.mu
}

// ask sends a request and waits for its answer, a denial, or the deadline.
func (c *Conn) ask(ctx context.Context, s *Spec, subject string, data []byte) ([]byte, error) {
	if !c.says[s] {
		return nil, c.undeclared(s)
	}
	waiting, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	w := c.await(subject, cancel)
	reply, err := c.nc.RequestMsgWithContext(waiting, request(ctx, subject, data))
	switch {
	case c.arrived(w):
		return nil, Errorf(CodeDenied, "permission denied: %s", subject)
	case err != nil:
		return nil, c.askError(ctx, s, err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return nil, errorFrom(code, reply.Header.Get(micro.ErrorHeader), reply.Data)
	}
	return reply.Data, nil
}

// request builds the message; headers only where there is something to say,
// since parsing them is a good part of an in-process call.
func request(ctx context.Context, subject string, data []byte) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: data}
	deadline, bounded := ctx.Deadline()
	trace := Trace(ctx)
	if !bounded && trace == "" {
		return m
	}
	m.Header = nats.Header{}
	if bounded {
		m.Header[HeaderTimeout] = []string{time.Until(deadline).String()}
	}
	if trace != "" {
		m.Header[HeaderTrace] = []string{trace}
	}
	return m
}

func (c *Conn) askError(ctx context.Context, s *Spec, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("ask %s: %w", s.Name, ctx.Err())
	case errors.Is(err, nats.ErrNoResponders):
		return &Error{Code: CodeUnavailable, Message: "nobody answers " + s.Name, nobody: true,
			Hint: "the room is starting, restarting or stopped; try again"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return Errorf(CodeTimeout, "no answer from %s within %s", s.Name, s.Timeout)
	case errors.Is(err, nats.ErrMaxPayload):
		return Errorf(CodeTooLarge, "the request to %s is larger than the bus carries", s.Name)
	case c.nc.IsClosed(), errors.Is(err, nats.ErrConnectionDraining):
		return Errorf(CodeUnavailable, "the bus connection is closed")
	}
	return Errorf(CodeUnavailable, "ask %s: %v", s.Name, err)
}

func (c *Conn) await(subject string, cancel context.CancelFunc) *waiter {
	w := &waiter{subject: subject, cancel: cancel}
	c.mu.Lock()
	c.waiters = append(c.waiters, w)
	c.mu.Unlock()
	return w
}

// arrived ends the wait and reports whether a denial ended it.
func (c *Conn) arrived(w *waiter) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.waiters, w); i >= 0 {
		last := len(c.waiters) - 1
		c.waiters[i] = c.waiters[last]
		c.waiters[last] = nil
		c.waiters = c.waiters[:last]
	}
	return w.denied
}

var deniedPublish = regexp.MustCompile(`Publish to "([^"]+)"`)

// asyncError hears what NATS reports beside the calls: a refused publish (which
// a request would only see as a timeout) and listeners that are too slow.
func (c *Conn) asyncError(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject, reason := "", "async_error"
	if sub != nil {
		subject = sub.Subject
	}
	switch {
	case errors.Is(err, nats.ErrSlowConsumer):
		reason = "slow_consumer"
	case errors.Is(err, nats.ErrPermissionViolation):
		reason = "denied"
		if m := deniedPublish.FindStringSubmatch(err.Error()); m != nil {
			subject = m[1]
			c.deny(subject)
		}
	}
	c.log.Warn("bus trouble", "service", c.name, "subject", subject, "kind", reason, "err", err)
	if c.hooks.Dropped != nil {
		c.hooks.Dropped(reason)
	}
}

func (c *Conn) deny(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waiters {
		if w.subject == subject {
			w.denied = true
			w.cancel()
		}
	}
}
