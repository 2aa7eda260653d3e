// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/blob"
	"github.com/blufio/blufio/services/internal/denial"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Name is the channel's name.
const Name = "telegram"

// Deps is what the room works with. All fields are required except Now.
type Deps struct {
	Store  *sqlite.Store
	Events *eventlog.Log
	Blobs  *blob.Store // in the same store
	Logger *slog.Logger
	Now    func() time.Time // default time.Now
}

// Service is the room.
type Service struct {
	cfg    Config
	api    *client
	store  *sqlite.Store
	events *eventlog.Log
	blobs  *blob.Store
	log    *slog.Logger
	now    func() time.Time
	pauses pauses

	fetching chan struct{} // a slot: one file at a time
	tokens   chan struct{} // the token may have changed
	evidence *evidence
	allow    *allowList
	denials  *denial.Teller
	pace     *pace
	typing   *typing
	polled   *client // with the token of the bot that is polled; of the loop that polls
	moved    *moved
	metrics  *metrics

	mu      sync.Mutex
	conn    *bus.Conn
	me      user
	first   int64                // the bot whose messages are known by their plain ids
	drafts  map[string]*draft    // by message id
	over    recent               // message ids whose reply has come
	busy    map[string]bool      // keys being delivered
	heard   recent               // groups where somebody from the list has spoken; of the loop that polls
	handing chan struct{}        // a slot for each chat whose updates are handed over
	unnoted map[partKey]sentPart // Telegram has accepted it, the database not yet
	life    context.Context      // the room's; nil outside of Run
	work    sync.WaitGroup       // drafts being shown
}

var _ services.Service = (*Service)(nil)

// pauses before something is tried again.
type pauses struct {
	first, most time.Duration // after a failed poll, doubling; also for updates the agent did not take
	token       time.Duration // after Telegram refused the token
	tick        time.Duration // housekeeping: evidence, denials
	typing      time.Duration // Telegram shows it for 5 s
	gap         time.Duration // between any two messages: Telegram allows 30 a second
	group       time.Duration // between two changes of a group's draft: Telegram allows about 20 a minute, one is the reply's
	margin      time.Duration // left of a delivery's time for a request: one that is cut off may have been accepted
}

// New returns the room. It connects to nothing yet.
func New(cfg Config, d Deps) (*Service, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	s := &Service{cfg: cfg, api: newClient(cfg), store: d.Store, events: d.Events, blobs: d.Blobs, log: d.Logger.With("service", Name), now: d.Now,
		pauses: pauses{first: time.Second, most: 30 * time.Second, token: time.Minute, tick: time.Second, typing: 4 * time.Second, gap: 40 * time.Millisecond,
			group: 4 * time.Second, margin: 5 * time.Second},
		fetching: make(chan struct{}, 1), tokens: make(chan struct{}, 1), handing: make(chan struct{}, maxChats), allow: newAllowList(cfg.Allow, d.Now), moved: &moved{},
		typing: newTyping(cfg.Typing, d.Now), drafts: map[string]*draft{}, busy: map[string]bool{}, unnoted: map[partKey]sentPart{}}
	s.pace = newPace(d.Now, func() time.Duration { return s.pauses.gap })
	s.evidence = &evidence{off: cfg.BotToken.IsZero, now: d.Now}
	s.metrics = newMetrics(s)
	s.denials = denial.New(Name, d.Store, d.Events, d.Now)
	return s, nil
}

// Door declares the room.
func (s *Service) Door() services.Door {
	return services.Door{
		Name: Name,
		Says: []bus.Lane{bus.MessageReceive, bus.AccessDenied, bus.ChannelDown, bus.ChannelUp},
		Hears: []bus.Handler{
			bus.MessageSend.To(Name).Answer(s.deliver).Workers(maxSends),
			bus.MessageDelta.To(Name).On(func(_ context.Context, d bus.Delta) { s.hear(d) }),
			bus.SecretChanged.On(func(context.Context, bus.SecretFact) { s.tokenMayHaveChanged() }),
		},
		Metrics:  slices.Concat(s.metrics.all(), s.blobs.Metrics(), s.denials.Metrics()),
		Failures: s.evidence.failures(),
		Health:   s.evidence.problems,
		Channel:  s.evidence.channel,
		Probes:   Probes(s),
	}
}

// Run polls until ctx ends. Without a token, and none that may come, it only sweeps.
func (s *Service) Run(ctx context.Context, c *bus.Conn, ready func()) error {
	if err := s.moved.load(ctx, s.store); err != nil {
		return fmt.Errorf("load moved chats: %w", err)
	}
	s.begin(ctx, c)
	defer s.end()
	ready()
	if s.cfg.BotToken.IsZero() && !s.cfg.BotToken.IsLive() {
		return services.Work(ctx, s.sweep)
	}
	return services.Work(ctx, s.sweep, s.watch, s.tellDenials, s.showTyping, s.poll)
}

func (s *Service) begin(ctx context.Context, c *bus.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.life = c, ctx
}

// end waits for the drafts, whose context has ended.
func (s *Service) end() {
	s.mu.Lock()
	s.life = nil
	s.mu.Unlock()
	s.work.Wait()
	s.api.close()
}

// lifetime ends with the room.
func (s *Service) lifetime() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

func (s *Service) bus() *bus.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// watch is the housekeeping of every second: what the evidence says now, and
// drafts that nobody makes any more.
func (s *Service) watch(ctx context.Context) error {
	tick := time.NewTicker(s.pauses.tick)
	defer tick.Stop()
	for {
		s.tellEvidence(ctx)
		s.endIdle()
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// sweep deletes what is kept long enough, once an hour.
func (s *Service) sweep(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := s.expire(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("old files and receipts not deleted", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) expire(ctx context.Context) error {
	if err := s.blobs.Sweep(ctx); err != nil {
		return err
	}
	return s.expireSent(ctx, s.now().Add(-keepSent))
}

// sleep waits for d; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// doubled is first, then twice as much each time, up to most.
func doubled(first time.Duration, times int, most time.Duration) time.Duration {
	d := cmp.Or(first, time.Millisecond)
	for i := 1; i < times && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}
