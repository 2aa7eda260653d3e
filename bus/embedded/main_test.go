// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const patience = 10 * time.Second // for what must happen; a failing test waits so long

// device makes a device key that needs no directory.
func device(t *testing.T) *Device {
	t.Helper()
	d, err := ephemeral()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// start runs a server for one test, on a free port, with a data directory.
func start(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{Listen: "127.0.0.1:0", EventsMB: 4, Dir: t.TempDir(), Device: device(t), Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// startWithEvents runs a server with its event stream open.
func startWithEvents(t *testing.T, change func(*Config)) (*Server, *Events) {
	t.Helper()
	s := start(t, change)
	e, err := s.OpenEvents(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return s, e
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// house connects a room, watch an insider of the stream's account, who may do
// more there than any observer.
func house(t *testing.T, s *Server, name string) *nats.Conn {
	t.Helper()
	return keep(t)(s.ConnectHouse(name, quiet()))
}

func watch(t *testing.T, s *Server, name string) *nats.Conn {
	t.Helper()
	return keep(t)(s.ConnectWatch(name, quiet()))
}

// operator connects over TCP as the command line does.
func operator(t *testing.T, s *Server) *nats.Conn {
	t.Helper()
	return keep(t)(nats.Connect(s.URL(), s.cfg.Device.NATSOption(), nats.CustomInboxPrefix(OperatorInbox), quiet()))
}

func keep(t *testing.T) func(*nats.Conn, error) *nats.Conn {
	return func(nc *nats.Conn, err error) *nats.Conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
}

// quiet keeps refusals that a test provokes off standard error.
func quiet() nats.Option { return nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) }

// listen subscribes and waits until the server knows.
func listen(t *testing.T, nc *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	flush(t, nc)
	return sub
}

// flush returns once the server has handled all that nc has sent.
func flush(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, sub *nats.Subscription) *nats.Msg {
	t.Helper()
	m, err := sub.NextMsg(patience)
	if err != nil {
		t.Fatalf("nothing on %s: %v", sub.Subject, err)
	}
	return m
}

// silent fails if sub has heard anything. A marker published on its subject by
// someone who may comes after all that was sent before, so no time is waited.
func silent(t *testing.T, sub *nats.Subscription, marker func(subject string)) {
	t.Helper()
	marker(strings.Replace(sub.Subject, ">", "marker", 1))
	if m := next(t, sub); string(m.Data) != "marker" {
		t.Errorf("%s heard %q on %s", sub.Subject, m.Data, m.Subject)
	}
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

type outcome struct {
	ack Ack
	err error
}

// publish publishes through Events and waits for the answer.
func (e *Events) publishAndWait(t *testing.T, ev Event) (Ack, error) {
	t.Helper()
	return await(t, func(done func(Ack, error)) error { return e.Publish(deadline(t), ev, done) })
}

func (e *Events) storeAndWait(t *testing.T, ev Event) (Ack, error) {
	t.Helper()
	return await(t, func(done func(Ack, error)) error { return e.Store(deadline(t), ev, done) })
}

func await(t *testing.T, send func(func(Ack, error)) error) (Ack, error) {
	t.Helper()
	answers := make(chan outcome, 2)
	if err := send(func(a Ack, err error) { answers <- outcome{a, err} }); err != nil {
		return Ack{}, err
	}
	select {
	case o := <-answers:
		return o.ack, o.err
	case <-time.After(patience):
		t.Fatal("no answer")
		return Ack{}, nil
	}
}

func mustPublish(t *testing.T, e *Events, ev Event) Ack {
	t.Helper()
	ack, err := e.publishAndWait(t, ev)
	if err != nil {
		t.Fatalf("publish %s: %v", ev.ID, err)
	}
	return ack
}

func state(t *testing.T, e *Events) State {
	t.Helper()
	st, err := e.State(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// stallingDialer makes a connection that can stop reading.
type stallingDialer struct {
	gate sync.RWMutex
}

func (d *stallingDialer) stop()   { d.gate.Lock() }
func (d *stallingDialer) resume() { d.gate.Unlock() }

func (d *stallingDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return &stallingConn{conn, &d.gate}, err
}

type stallingConn struct {
	net.Conn
	gate *sync.RWMutex
}

func (c *stallingConn) Read(p []byte) (int, error) {
	c.gate.RLock()
	defer c.gate.RUnlock()
	// A deadline, so that a reader at rest lets the gate close.
	for {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		n, err := c.Conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		c.gate.RUnlock()
		runtime.Gosched()
		c.gate.RLock()
	}
}
