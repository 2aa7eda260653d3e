// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// Headers that blufio adds to messages.
const (
	HeaderTrace   = "Blufio-Trace"   // follows one message through every room
	HeaderTimeout = "Blufio-Timeout" // how long the caller of a call still waits, a Go duration
	HeaderSeq     = "Blufio-Seq"     // durable events: position in the event log, from 1
	HeaderEpoch   = "Blufio-Epoch"   // durable events: which event log the position counts in
)

// afterwards is how long an answer may take to reach the server, for those who do
// something then.
const afterwards = 2 * time.Second

// Options describe the one who holds a connection.
type Options struct {
	Name   string       // room or program, a subject word
	Says   []Lane       // lanes it may use; others are refused
	Logger *slog.Logger // required
	Hooks  Hooks
	Redact Redactor // nil: nothing is redacted
}

// Redactor takes secrets out of text and, keeping it valid, out of JSON.
type Redactor interface {
	Redact(text string) string
	RedactJSON(data []byte) []byte
}

// Hooks let the house count what a connection does. Nil functions are skipped.
// They are called from many goroutines and must be quick.
type Hooks struct {
	Handled func(s *Spec, took time.Duration, err error) // after each answer or heard event
	Dropped func(reason string)                          // one of DropReasons
	Queued  func(s *Spec, q Queue)                       // once for each handler, when it begins
}

// DropReasons are why messages are dropped or refused.
var DropReasons = []string{"slow_consumer", "denied", "async_error"}

// Queue is what a handler has taken and not finished, and the bound of that.
type Queue struct {
	Len   func() int
	Bound int
}

// Conn is one room's or program's connection: declared lanes only, handlers
// contained and bounded, every call with a deadline.
type Conn struct {
	nc     *nats.Conn
	name   string
	says   map[*Spec]bool
	log    *slog.Logger
	hooks  Hooks
	redact Redactor
	closed chan struct{}

	base   context.Context // of every handler; ends when Drain gives up waiting
	cancel context.CancelFunc
	work   sync.WaitGroup // answers in flight

	mu      sync.Mutex
	service micro.Service
	subs    []*nats.Subscription
	waiters []*waiter // calls in flight, at most a few hundred
}

// NewConn wraps a fresh nats connection and takes over its handlers.
func NewConn(nc *nats.Conn, o Options) *Conn {
	c := &Conn{
		nc: nc, name: o.Name, log: o.Logger, hooks: o.Hooks, redact: o.Redact,
		says:   make(map[*Spec]bool, len(o.Says)),
		closed: make(chan struct{}),
	}
	for _, l := range o.Says {
		c.says[l.Spec()] = true
	}
	c.base, c.cancel = context.WithCancel(context.Background()) // outlives Run: accepted work is finished in Drain
	var once sync.Once
	nc.SetClosedHandler(func(*nats.Conn) { once.Do(func() { close(c.closed) }) })
	nc.SetErrorHandler(c.asyncError)
	return c
}

// Name returns the holder's name.
func (c *Conn) Name() string { return c.name }

// NATS returns the connection underneath, for what the contract does not speak
// of (the event stream, a benchmark). Rooms do not use it for subjects.
func (c *Conn) NATS() *nats.Conn { return c.nc }

// Closed is closed when the connection has ended for good.
func (c *Conn) Closed() <-chan struct{} { return c.closed }

// Handle starts hearing and answering the given lanes and returns when the
// server knows of them.
func (c *Conn) Handle(ctx context.Context, handlers ...Handler) error {
	for _, h := range handlers {
		var err error
		if h.spec.Kind == KindCall {
			err = c.addEndpoint(h)
		} else {
			err = c.subscribe(h)
		}
		if err != nil {
			return fmt.Errorf("handle %s: %w", h.spec.Name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return c.nc.FlushWithContext(ctx)
}

func (c *Conn) subscribe(h Handler) error {
	sub, err := Listen(c.nc, h.subject, func(m *nats.Msg) {
		ctx := WithTrace(c.base, m.Header.Get(HeaderTrace))
		start := time.Now()
		err := c.contain(h, func() error { return h.hear(ctx, m.Data) })
		c.handled(ctx, h, time.Since(start), err)
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.subs = append(c.subs, sub)
	c.mu.Unlock()
	c.queued(h, func() int {
		n, _, err := sub.Pending()
		if err != nil {
			return 0 // it has ended
		}
		return n
	})
	return nil
}

// addEndpoint registers h with the room's micro service. micro runs the
// requests of one endpoint one after another, so the work moves to a crew of ours.
func (c *Conn) addEndpoint(h Handler) error {
	svc, err := c.microService()
	if err != nil {
		return err
	}
	crew := newCrew(c.base, h.workers, h.Bound(), func(r micro.Request) {
		defer c.work.Done()
		c.serve(h, r)
	})
	c.queued(h, crew.len)
	handler := micro.HandlerFunc(func(r micro.Request) {
		if r.Reply() != "" && !IsInbox(r.Reply()) {
			c.refuseReply(h, r.Reply())
			return
		}
		c.work.Add(1)
		if !crew.take(r) {
			c.work.Done()
			busy := &Error{Code: CodeBusy, RetryAfter: time.Second,
				Message: fmt.Sprintf("%s is busy: %d requests are waiting", h.spec.Name, h.queue)}
			c.respond(r, nil, busy)
			c.handled(c.base, h, 0, busy)
		}
	})
	return svc.AddEndpoint(endpointName(h.spec), handler, micro.WithEndpointSubject(h.subject), micro.WithEndpointPendingLimits(eventQueue, callQueueBytes))
}

func (c *Conn) queued(h Handler, n func() int) {
	if c.hooks.Queued != nil {
		c.hooks.Queued(h.spec, Queue{Len: n, Bound: h.Bound()})
	}
}

func (c *Conn) microService() (micro.Service, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.service != nil {
		return c.service, nil
	}
	svc, err := micro.AddService(c.nc, micro.Config{
		Name: "blufio-" + c.name, Version: "1.0.0", Description: "blufio room " + c.name,
		ErrorHandler: func(_ micro.Service, e *micro.NATSError) {
			c.log.Warn("bus service error", "service", c.name, "subject", e.Subject, "err", e.Description)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("add micro service: %w", err)
	}
	c.service = svc
	return svc, nil
}

func (c *Conn) serve(h Handler, r micro.Request) {
	timeout := h.spec.Timeout
	if d, err := time.ParseDuration(r.Headers().Get(HeaderTimeout)); err == nil && d < timeout {
		timeout = d
	}
	ctx, cancel := context.WithTimeout(WithTrace(c.base, r.Headers().Get(HeaderTrace)), timeout)
	defer cancel()
	start := time.Now()
	var reply []byte
	err := c.contain(h, func() (err error) {
		reply, err = h.answer(ctx, r.Data())
		return err
	})
	c.respond(r, c.clean(h.spec, reply), c.cleanError(c.toError(ctx, h, err)))
	c.handled(ctx, h, time.Since(start), err)
	if err == nil && h.after != nil {
		if err := c.nc.FlushTimeout(afterwards); err != nil && !c.nc.IsClosed() {
			c.log.Warn("the answer may be cut off", "service", c.name, "subject", h.subject, "err", err)
		}
		_ = c.contain(h, func() error { h.after(); return nil }) // a panic is logged
	}
}

// contain runs fn and turns a panic into an error: an uncaught one in a NATS
// callback would end the process.
func (c *Conn) contain(h Handler, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic in handler", "service", c.name, "subject", h.subject, "err", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in %s: %v", h.spec.Name, p)
		}
	}()
	return fn()
}

// toError makes what may cross the bus of err: an error without a code may hold
// inner details, so only the log sees it.
func (c *Conn) toError(ctx context.Context, h Handler, err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(CodeTimeout, "%s did not finish in time", h.spec.Name)
	case errors.Is(err, context.Canceled):
		return Errorf(CodeUnavailable, "%s is stopping", c.name)
	}
	c.log.Error("handler failed", "service", c.name, "subject", h.subject, "trace", Trace(ctx), "err", err)
	return Errorf(CodeInternal, "%s could not answer %s", c.name, h.spec.Name).WithHint("the daemon's log has the details")
}

// refuseReply notes a request that is not answered, nor worked on: its answer would be
// heard as a fact or as a command.
func (c *Conn) refuseReply(h Handler, reply string) {
	c.log.Warn("bus trouble", "service", c.name, "subject", h.subject, "kind", "denied", "err", "an answer to "+oneLine(reply)+" was asked for, which is no inbox")
	if c.hooks.Dropped != nil {
		c.hooks.Dropped("denied")
	}
}

// respond answers past micro's own Request, whose answer methods are only for
// the goroutine that its handler was called on.
func (c *Conn) respond(r micro.Request, reply []byte, failure *Error) {
	m := ReplyMsg(r.Reply(), reply, failure)
	err := c.nc.PublishMsg(m)
	if errors.Is(err, nats.ErrMaxPayload) && failure == nil {
		c.respond(r, nil, Errorf(CodeTooLarge, "the answer has %d bytes, more than the bus carries", len(reply)))
		return
	}
	if err != nil && !c.nc.IsClosed() {
		c.log.Warn("answer not sent", "service", c.name, "subject", r.Subject(), "err", err)
	}
}

// oneLine keeps a message from ending the header it travels in.
func oneLine(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}

func (c *Conn) handled(ctx context.Context, h Handler, took time.Duration, err error) {
	if err != nil && h.spec.Kind != KindCall {
		c.log.Error("event not handled", "service", c.name, "subject", h.subject, "trace", Trace(ctx), "err", err)
	}
	if c.hooks.Handled != nil {
		c.hooks.Handled(h.spec, took, err)
	}
}

func (c *Conn) publish(s *Spec, subject string, data []byte) error {
	if !c.says[s] {
		return c.undeclared(s)
	}
	return c.nc.Publish(subject, c.clean(s, data))
}

// clean redacts an answer or an event. What people and models say to each other
// passes as it is, and so do the bytes of a backup, which would be damaged by that;
// everything else is what the house says of itself.
func (c *Conn) clean(s *Spec, data []byte) []byte {
	if c.redact == nil || s.Area() == "msg" || s.Area() == "agent" || s == BackupTake.spec {
		return data
	}
	return c.redact.RedactJSON(data)
}

// cleanError redacts what an error says: its text often comes from outside.
func (c *Conn) cleanError(e *Error) *Error {
	if c.redact == nil || e == nil {
		return e
	}
	clean := *e
	clean.Message, clean.Hint = c.redact.Redact(e.Message), c.redact.Redact(e.Hint)
	return &clean
}

func (c *Conn) undeclared(s *Spec) error {
	return Errorf(CodeDenied, "%s does not declare that it says %s", c.name, s.Name)
}

// Drain ends the connection: no new work is taken, what was accepted is
// finished, its answers are sent. When ctx ends first, handlers are cancelled.
func (c *Conn) Drain(ctx context.Context) error {
	defer c.cancel()
	c.stopHearing(ctx)
	done := make(chan struct{})
	go func() { c.work.Wait(); close(done) }()
	var late error
	select {
	case <-done:
	case <-ctx.Done():
		late = fmt.Errorf("drain %s: %w", c.name, ctx.Err())
		c.cancel()
	}
	if err := c.nc.Drain(); err != nil {
		c.nc.Close()
	}
	select {
	case <-c.closed:
	case <-ctx.Done():
		c.nc.Close()
	}
	return late
}

// stopHearing drains every subscription and waits until the last message that
// the server had sent is handed to its handler: only then is c.work complete.
// The client reports neither for micro's own subscriptions, so it is polled.
func (c *Conn) stopHearing(ctx context.Context) {
	c.mu.Lock()
	svc, subs := c.service, c.subs
	c.mu.Unlock()
	if svc != nil {
		if err := svc.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			c.log.Warn("stop bus service", "service", c.name, "err", err)
		}
	}
	for _, s := range subs {
		if err := s.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			c.log.Warn("stop listening", "service", c.name, "subject", s.Subject, "err", err)
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.nc.NumSubscriptions() > 1 { // one may stay: where answers to our own calls arrive
		select {
		case <-tick.C:
		case <-c.closed:
			return
		case <-ctx.Done():
			return
		}
	}
}

// endpointName makes a micro endpoint name ("msg-send") of a lane's name.
func endpointName(s *Spec) string {
	name, _, _ := strings.Cut(s.Name, ".{")
	return strings.ReplaceAll(name, ".", "-")
}
