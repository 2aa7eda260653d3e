// SPDX-License-Identifier: MIT OR Apache-2.0

package services_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

const patience = 10 * time.Second // for what must happen; a failing test waits so long

var errBroken = errors.New("broken")

// room is a service made of functions.
type room struct {
	door services.Door
	run  func(ctx context.Context, c *bus.Conn, ready func()) error
}

func (r *room) Door() services.Door { return r.door }

func (r *room) Run(ctx context.Context, c *bus.Conn, ready func()) error { return r.run(ctx, c, ready) }

// calm is a room that is ready at once and ends when asked.
func calm(name string, hears ...bus.Handler) *room {
	return &room{door: services.Door{Name: name, Hears: hears}, run: untilAsked}
}

func untilAsked(ctx context.Context, _ *bus.Conn, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

// failing is a room whose every life is one of the given ones; the last repeats.
func failing(name string, lives ...func(context.Context, *bus.Conn, func()) error) *room {
	n := 0
	return &room{door: services.Door{Name: name}, run: func(ctx context.Context, c *bus.Conn, ready func()) error {
		life := lives[min(n, len(lives)-1)]
		n++
		return life(ctx, c, ready)
	}}
}

func breaks(_ context.Context, _ *bus.Conn, ready func()) error {
	ready()
	return errBroken
}

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) equals(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, want) {
		t.Errorf("happened %q, want %q", j.lines, want)
	}
}

// house runs a house in a test.
type house struct {
	*services.House
	registry *prometheus.Registry
	ready    chan struct{}
	ended    chan struct{}
	err      error // of Run, once ended is closed
	stop     context.CancelFunc
}

// build makes a house of rooms on a bus; change may alter its configuration.
func build(t *testing.T, b *bustest.Bus, change func(*services.Config), rooms ...services.Service) *house {
	t.Helper()
	cfg := services.Config{
		Rooms: rooms, Logger: bustest.Logger(t), Registry: prometheus.NewRegistry(),
		Connect: func(name string) (*nats.Conn, error) { return b.Server().ConnectRoom(name) },
		Backoff: services.Backoff{First: time.Millisecond, Most: 4 * time.Millisecond},
	}
	if change != nil {
		change(&cfg)
	}
	h, err := services.NewHouse(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &house{House: h, registry: cfg.Registry, ready: make(chan struct{}), ended: make(chan struct{})}
}

// open builds a house and starts it; it stops with the test.
func open(t *testing.T, b *bustest.Bus, change func(*services.Config), rooms ...services.Service) *house {
	t.Helper()
	h := build(t, b, change, rooms...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	h.stop = cancel
	go func() {
		h.err = h.Run(ctx, func() { close(h.ready) })
		close(h.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-h.ended
	})
	return h
}

// end stops the house and returns what Run said.
func (h *house) end(t *testing.T) error {
	t.Helper()
	h.stop()
	wait(t, h.ended)
	return h.err
}

// wait waits for a channel to be closed or to deliver.
func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
	return v
}

func (h *house) status(name string) bus.ServiceStatus {
	for _, s := range h.Report().Services {
		if s.Name == name {
			return s
		}
	}
	return bus.ServiceStatus{}
}
