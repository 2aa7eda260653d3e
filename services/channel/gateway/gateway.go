// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/denial"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/prometheus/client_golang/prometheus"
)

// name is the room's, its channel's and its config section's.
const name = "gateway"

// Deps is what the gateway works with. All fields are required except Now.
type Deps struct {
	Key     func() ed25519.PrivateKey // the device key as it is now: signs and proves tokens
	Store   *sqlite.Store             // with Schema and eventlog.Schema
	Events  *eventlog.Log             // in the same store
	Metrics prometheus.Gatherer       // what GET /metrics shows
	Logger  *slog.Logger
	Now     func() time.Time // default time.Now
}

// Service is the room.
type Service struct {
	cfg      Config
	live     atomic.Pointer[Config] // what of cfg may change
	log      *slog.Logger
	now      func() time.Time
	gatherer prometheus.Gatherer

	store    *sqlite.Store
	events   *eventlog.Log
	mint     *mint
	passes   *passes
	certs    *certificates // nil without TLS
	slow     *slowdown
	denials  *denial.Teller
	waiters  *waiters
	pulse    pulse
	evidence evidence
	meter    *meter
	bodies   chan struct{} // a slot for each body that is large or whole
	large    chan struct{} // those for large ones
	scrapes  chan struct{} // a slot for each scrape being served
	streams  chan struct{} // a slot for each event stream and socket
	feeds    feeds         // of the event streams among them
	made     time.Time     // the age of the model, as clients see it
	every    periods

	mu    sync.Mutex
	bound string // address of the last listener, "" before the first
	front *front // of this life; nil outside of Run
}

// periods are the pauses after which something is said for its own sake.
type periods struct {
	heartbeat time.Duration // of an event stream
	keepAlive time.Duration // of a completion's stream
	ping      time.Duration // of a socket: a client that does not answer has gone
	idle      time.Duration // a connection that was used later is not closed to save memory
}

var _ services.Service = (*Service)(nil)

// New returns the room. It opens nothing yet, except that it reads the
// certificate. A configuration it does not accept is a [*ConfigError].
func New(cfg Config, d Deps) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	s := &Service{
		cfg: cfg, log: d.Logger.With("service", name), now: d.Now, gatherer: d.Metrics, store: d.Store, events: d.Events,
		slow:    newSlowdown(cfg.MaxAuthDelay, d.Now),
		denials: denial.New(name, d.Store, d.Events, d.Now),
		waiters: newWaiters(cfg.MaxWaiters),
		bodies:  make(chan struct{}, cfg.MaxBodies),
		large:   make(chan struct{}, cfg.largeBodies()),
		scrapes: make(chan struct{}, maxScrapes),
		streams: make(chan struct{}, cfg.MaxStreams),
		made:    d.Now(),
		every:   periods{heartbeat: 15 * time.Second, keepAlive: 15 * time.Second, ping: 30 * time.Second, idle: idleLeast},
	}
	s.live.Store(&cfg)
	var err error
	if s.mint, err = newMint(d.Key, d.Now); err != nil {
		return nil, err
	}
	s.passes = newPasses(cfg.MaxTokens, d.Now, s.mint.public)
	if cfg.tls() {
		if s.certs, err = loadCertificates(cfg.TLSCert, cfg.TLSKey, d.Now); err != nil {
			return nil, &ConfigError{Key: "tls_cert", Message: err.Error(), Hint: "both files must be PEM and readable by the daemon's user"}
		}
	}
	s.meter = newMeter(s)
	return s, nil
}

// Reconfigure prepares to go on with other bounds of requests; take does it, for the
// next ones. A socket that is open keeps its own.
func (s *Service) Reconfigure(cfg Config) (take func(), err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return func() { s.live.Store(&cfg) }, nil
}

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: name,
		Says: []bus.Lane{bus.MessageReceive, bus.MessageGet, bus.MessageCancel, bus.AgentSessions, bus.AgentHistory, bus.EventsRead,
			bus.AccessDenied, bus.TokenIssued, bus.TokenRevoked},
		Hears: []bus.Handler{
			bus.MessageSend.To(name).Answer(s.deliver),
			bus.MessageDelta.To(name).On(func(_ context.Context, d bus.Delta) { s.waiters.partial(d) }),
			bus.TokenIssue.Answer(s.issue), bus.TokenList.Answer(s.listTokens), bus.TokenRevoke.Answer(s.revoke),
			bus.MemoryShed.To(name).Answer(s.shed).Workers(1),
			bus.Pulse.On(func(_ context.Context, h bus.Health) { s.pulse.hear(h, s.now()) }),
		},
		Metrics:  append(s.meter.collectors(), s.denials.Metrics()...),
		Failures: map[string]func() float64{"request": func() float64 { return float64(s.evidence.failures.Load()) }},
		Health:   s.health,
		Probes:   Probes(s),
		Channel:  func() bus.Channel { return s.evidence.channel() },
	}
}

// Run serves until ctx ends. Then it accepts nothing more, answers those who
// wait for a reply with 202, and finishes the requests it has, for at most
// DrainTimeout.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	if err := s.readTokens(ctx); err != nil {
		return err
	}
	ln, err := s.listen(ctx)
	if err != nil {
		return err
	}
	f := newFront(s, c)
	s.attend(f)
	defer s.attend(nil)
	telling, stop := context.WithCancel(context.WithoutCancel(ctx)) // requests in flight may yet be refused
	var told sync.WaitGroup
	told.Go(func() { s.denials.Run(telling, s.log) })
	told.Go(func() { s.keepTokens(telling) })
	s.evidence.listen(true)
	ready()
	err = f.serve(ctx, ln)
	s.evidence.listen(false)
	stop()
	told.Wait()
	return err
}

// attend says which front serves now, nil for none.
func (s *Service) attend(f *front) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.front = f
}

// shed answers gov.shed: under pressure clients lose the connections that they keep
// for a next request.
func (s *Service) shed(_ context.Context, q bus.Shed) (bus.Freed, error) {
	s.mu.Lock()
	f := s.front
	s.mu.Unlock()
	if f == nil || q.Pressure == bus.PressureNormal {
		return bus.Freed{}, nil
	}
	return bus.Freed{Bytes: f.dropIdle()}, nil
}

// URL returns where clients of this machine find the gateway,
// "http://127.0.0.1:3000", with the real port; "" before Run is ready.
func (s *Service) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == "" {
		return ""
	}
	return s.scheme() + "://" + localAddress(s.bound)
}

func (s *Service) scheme() string {
	if s.certs != nil {
		return "https"
	}
	return "http"
}

// deliver takes a reply over. It is stored with its message, so there is
// nothing to keep: whoever waits is woken, all others ask.
func (s *Service) deliver(_ context.Context, r bus.Reply) (bus.Receipt, error) {
	s.waiters.wake(r)
	return bus.Receipt{}, nil
}

// health tells what an owner can mend. The house itself tells of a room that
// does not run.
func (s *Service) health() []bus.Problem {
	var problems []bus.Problem
	if !s.evidence.listening() {
		problems = append(problems, bus.Problem{Code: "gateway_down",
			Title: fmt.Sprintf("the gateway does not listen on %s", s.cfg.Listen), Hint: "see the daemon's log"})
	}
	if s.certs != nil {
		problems = append(problems, s.certs.problems()...)
	}
	return problems
}
