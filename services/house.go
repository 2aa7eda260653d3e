// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a House needs.
type Config struct {
	Rooms        []Service // in start order
	Connect      func(name string) (*nats.Conn, error)
	Logger       *slog.Logger
	Registry     *prometheus.Registry
	DrainTimeout time.Duration                        // for the whole stop; default 8 s
	StartTimeout time.Duration                        // for one room to become ready; default 30 s
	After        func(time.Duration) <-chan time.Time // measures it; nil: time.After
	Backoff      Backoff
	Redactor     bus.Redactor // for what rooms say; nil: nothing is redacted
}

// Backoff says how a failing room is started again.
type Backoff struct {
	First  time.Duration // wait before the first restart; doubles each time; default 100 ms
	Most   time.Duration // longest wait; default 30 s
	Limit  int           // failures within Window that end the house; default 5
	Window time.Duration // default 10 minutes
}

// failedDrain is how long a failed room's answers may take.
const failedDrain = 2 * time.Second

// House starts, watches, restarts and stops rooms.
type House struct {
	cfg   Config
	log   *slog.Logger
	rooms []*room
	stats *busMetrics
	fatal chan error
}

// NewHouse asks every room for its door and registers its metrics.
func NewHouse(cfg Config) (*House, error) {
	cfg.defaults()
	h := &House{cfg: cfg, log: cfg.Logger, stats: newBusMetrics(), fatal: make(chan error, 1)}
	if err := h.stats.register(cfg.Registry); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, s := range cfg.Rooms {
		d := s.Door()
		if !bus.ValidToken(d.Name) || seen[d.Name] {
			return nil, fmt.Errorf("room name %q: not a subject word, or used twice", d.Name)
		}
		seen[d.Name] = true
		for _, m := range d.Metrics {
			if err := cfg.Registry.Register(m); err != nil {
				return nil, fmt.Errorf("register metrics of %s: %w", d.Name, err)
			}
		}
		h.stats.furnish(d)
		h.rooms = append(h.rooms, &room{service: s, door: d, state: stateStarting})
	}
	return h, nil
}

func (c *Config) defaults() {
	setDefault(&c.DrainTimeout, 8*time.Second)
	setDefault(&c.StartTimeout, 30*time.Second)
	if c.After == nil {
		c.After = time.After
	}
	setDefault(&c.Backoff.First, 100*time.Millisecond)
	setDefault(&c.Backoff.Most, 30*time.Second)
	setDefault(&c.Backoff.Limit, 5)
	setDefault(&c.Backoff.Window, 10*time.Minute)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run starts the rooms, calls ready when all of them are, and works until ctx
// ends (then it returns nil) or a room cannot be kept alive.
func (h *House) Run(ctx context.Context, ready func()) error {
	err := h.start(ctx)
	if err == nil {
		ready()
		select {
		case <-ctx.Done():
		case err = <-h.fatal:
		}
	}
	h.stop(ctx)
	if ctx.Err() != nil {
		return nil // asked to stop, also while starting
	}
	return err
}

func (h *House) start(ctx context.Context) error {
	for _, r := range h.rooms {
		started := make(chan struct{})
		r.begin(ctx, h, started)
		timeout := h.cfg.After(h.cfg.StartTimeout)
		select {
		case <-started:
		case err := <-h.fatal:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return fmt.Errorf("start %s: not ready after %s", r.door.Name, h.cfg.StartTimeout)
		}
	}
	return nil
}

// stop is the two passes. DrainTimeout holds for both together: what is not
// finished by then stays in the inbox and is taken up at the next start. A room
// that is stuck leaves an eighth of it for the answers of the others.
func (h *House) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.cfg.DrainTimeout)
	defer cancel()
	ending, ended := context.WithTimeout(ctx, h.cfg.DrainTimeout*7/8)
	defer ended()
	for i := len(h.rooms) - 1; i >= 0; i-- {
		if err := h.rooms[i].end(ctx, ending, h.cfg.DrainTimeout/64); err != nil {
			h.log.Warn("room did not finish in time", "service", h.rooms[i].door.Name, "err", err)
		}
	}
	for i := len(h.rooms) - 1; i >= 0; i-- {
		if err := h.rooms[i].drain(ctx); err != nil {
			h.log.Warn("answers were cut off", "service", h.rooms[i].door.Name, "err", err)
		}
	}
}

// keep runs one room for as long as the house stands.
func (h *House) keep(ctx context.Context, r *room, started func()) {
	var failures []time.Time
	for {
		err := h.once(ctx, r, started)
		if ctx.Err() != nil {
			if err != nil {
				h.log.Warn("room ended badly", "service", r.door.Name, "err", err)
			}
			return
		}
		h.stats.wrong(r.door.Name, restarted)
		failures = append(recent(failures, time.Now().Add(-h.cfg.Backoff.Window)), time.Now())
		if len(failures) >= h.cfg.Backoff.Limit || !r.everReady() {
			r.set(stateFailed)
			select {
			case h.fatal <- fmt.Errorf("%s: %w", r.door.Name, err):
			default: // another room was faster; one reason is enough
			}
			return
		}
		wait := h.cfg.Backoff.wait(len(failures))
		r.failed(err)
		h.log.Error("room failed, starting it again", "service", r.door.Name, "err", err, "wait", wait.String())
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func recent(times []time.Time, after time.Time) []time.Time {
	for len(times) > 0 && times[0].Before(after) {
		times = times[1:]
	}
	return times
}

func (b Backoff) wait(failures int) time.Duration {
	d := b.First
	for i := 1; i < failures && d < b.Most; i++ {
		d *= 2
	}
	return min(d, b.Most)
}

// once is one life of a room: connect, Run, and close after a failure. After an
// ordered end the connection stays open for the second pass.
func (h *House) once(ctx context.Context, r *room, started func()) error {
	nc, err := h.cfg.Connect(r.door.Name)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	conn := bus.NewConn(nc, bus.Options{Name: r.door.Name, Says: r.door.Says, Logger: h.log, Hooks: h.stats.hooks(r.door.Name), Redact: h.cfg.Redactor})
	r.hold(conn)
	err = h.live(ctx, r, conn, started)
	if ctx.Err() != nil {
		return err
	}
	if err == nil {
		err = errors.New("returned without being asked to")
	}
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), failedDrain) // accepted calls are answered, also when the house stops now
	defer stop()
	return errors.Join(err, conn.Drain(drain))
}

// live runs the room until it returns; the loss of its connection ends it.
func (h *House) live(ctx context.Context, r *room, conn *bus.Conn, started func()) error {
	running, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel(nil)
	watch.Go(func() {
		select {
		case <-conn.Closed():
			cancel(errors.New("bus connection lost"))
		case <-running.Done():
		}
	})
	var once sync.Once
	ready := func() {
		if err := conn.Handle(running, r.door.Hears...); err != nil {
			cancel(err)
			return
		}
		r.set(stateRunning)
		started()
	}
	err := Contain(func() error { return r.service.Run(running, conn, func() { once.Do(ready) }) })
	if ctx.Err() == nil && running.Err() != nil {
		err = errors.Join(context.Cause(running), err) // the cause first: what Run says is its effect
	}
	return err
}

// Contain runs a function and turns its panic into an error that carries the
// stack, for the log.
func Contain(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return run()
}
