// SPDX-License-Identifier: MIT OR Apache-2.0

// Package bustest gives tests a real bus: an embedded NATS server with the
// accounts and permissions of the product, on a free port, gone with the test.
//
//	b := bustest.New(t)
//	room := b.Connect(t, "cost")
//	room.Handle(t.Context(), bus.CostGet.Answer(…))
//	asker := b.Connect(t, "cli", bus.CostGet)
//	got, err := bus.CostGet.Ask(t.Context(), asker, bus.CostQuery{})
package bustest

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/nats-io/nats.go"
)

// Bus is a running server for one test.
type Bus struct {
	server *embedded.Server
	device *embedded.Device
	dir    string
}

// New starts a server that ends with the test.
func New(t testing.TB) *Bus {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	device, err := embedded.LoadOrCreateDevice(dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := embedded.Start(t.Context(), embedded.Config{
		Listen: "127.0.0.1:0", Dir: filepath.Join(dir, "events"), EventsMB: 4, Device: device, Logger: Logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return &Bus{server: server, device: device, dir: dir}
}

// Server returns the server itself.
func (b *Bus) Server() *embedded.Server { return b.server }

// Device returns the device key, the operator of this bus.
func (b *Bus) Device() *embedded.Device { return b.device }

// Dir returns the data directory, which holds the device key.
func (b *Bus) Dir() string { return b.dir }

// Connect returns a connection in the house that may say the given lanes and,
// other than a room, state facts as the relay does. It is drained at the end of the test.
func (b *Bus) Connect(t testing.TB, name string, says ...bus.Lane) *bus.Conn {
	t.Helper()
	nc, err := b.server.ConnectHouse(name)
	if err != nil {
		t.Fatal(err)
	}
	return b.wrap(t, nc, name, says)
}

// Operator returns a connection over the network with the device key, as the
// command line makes it.
func (b *Bus) Operator(t testing.TB, says ...bus.Lane) *bus.Conn {
	t.Helper()
	nc, err := nats.Connect(b.server.URL(), b.device.NATSOption(), nats.CustomInboxPrefix(embedded.OperatorInbox))
	if err != nil {
		t.Fatal(err)
	}
	return b.wrap(t, nc, "cli", says)
}

func (b *Bus) wrap(t testing.TB, nc *nats.Conn, name string, says []bus.Lane) *bus.Conn {
	c := bus.NewConn(nc, bus.Options{Name: name, Says: says, Logger: Logger(t)})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		if err := c.Drain(ctx); err != nil {
			t.Errorf("drain %s: %v", name, err)
		}
	})
	return c
}

// Watch collects everything that is said on the bus.
type Watch struct {
	mu   sync.Mutex
	seen []*nats.Msg
	more chan struct{}
}

// Watch listens to every blufio subject in the house until the test ends.
func (b *Bus) Watch(t testing.TB) *Watch {
	t.Helper()
	nc, err := b.server.ConnectHouse("watch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w := &Watch{more: make(chan struct{})}
	if _, err := nc.Subscribe(bus.Prefix+">", w.add); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *Watch) add(m *nats.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, m)
	close(w.more)
	w.more = make(chan struct{})
}

// Wait waits for the n-th message (from 1) on lane that match accepts (nil:
// any) and decodes it; it fails the test after 10 s.
func Wait[T any](t testing.TB, w *Watch, lane bus.Lane, n int, match func(T) bool) T {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	for {
		w.mu.Lock()
		seen, more := w.seen, w.more
		w.mu.Unlock()
		found := 0
		for _, m := range seen {
			var v T
			if !matches(lane.Spec().Subject(), m.Subject) || json.Unmarshal(m.Data, &v) != nil || match != nil && !match(v) {
				continue
			}
			if found++; found == n {
				return v
			}
		}
		select {
		case <-more:
		case <-deadline.C:
			t.Fatalf("%s: heard %d of %d messages", lane.Spec().Name, found, n)
		}
	}
}

func matches(pattern, subject string) bool {
	head, open := strings.CutSuffix(pattern, "*")
	return pattern == subject || open && strings.HasPrefix(subject, head)
}

// Logger writes to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
