// SPDX-License-Identifier: MIT OR Apache-2.0

// Package keys is the room that knows who may get on the bus besides the device key.
//
//   - A key is issued, revoked and expires while the daemon runs, at once and without
//     anyone else noticing: package embedded does that. The room decides who gets one,
//     keeps the public parts, and tells what became of each as facts.
//   - The seed of a key never comes here. Whoever asks for a key makes it and sends its
//     public part.
//   - [Load] reads the living keys before the bus listens, so that a key works right
//     after a restart, and one that is revoked never again.
//   - The device key is replaced live too: the caller hears of the new one, then its
//     own connection, made with the old one, ends.
//
// At most 64 keys live at a time. Dead ones are kept for 90 days, at most 250 of them: a
// list of all must fit into one message.
package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	maxLiving = 64
	maxDead   = 250
	keepDead  = 90 * 24 * time.Hour
	longest   = time.Minute // between two looks at the clock, which may be set
	again     = time.Second // until an end that could not be stored is tried again; twice as long each time, at most longest
	grace     = time.Second // for a client to take in the answer before its connection ends
)

// Deps is what the room works with.
type Deps struct {
	Store   *sqlite.Store
	Events  *eventlog.Log
	Bus     *embedded.Server
	DataDir string   // where the device key lies
	Tools   []string // names of the agent's own, which no key for a tool may have
	Logger  *slog.Logger
	Now     func() time.Time
	After   func(time.Duration) <-chan time.Time // nil: time.After

	Replaced func(*embedded.Device) // hears of a new device key before it is used; may be nil
}

// Service is the room.
type Service struct {
	d    Deps
	wake chan struct{} // there is another end to wait for
	old  chan struct{} // there is a device key that was replaced

	mu     sync.Mutex         // held also while a change is stored, which may take long
	living map[string]*record // by public key; with those whose end is not stored yet
	next   time.Time          // when to try again to store an end
	pause  time.Duration      // until the try after that

	// What status and metrics tell, which must not wait for the database.
	count   atomic.Int64          // of living
	trouble atomic.Pointer[error] // why what is stored is not what is in force
}

var _ services.Service = (*Service)(nil)

// New returns the room.
func New(d Deps) *Service {
	if d.After == nil {
		d.After = time.After
	}
	return &Service{d: d, wake: make(chan struct{}, 1), old: make(chan struct{}, 1), living: map[string]*record{}}
}

// Door declares the room.
func (s *Service) Door() services.Door {
	count := func() float64 { return float64(s.count.Load()) }
	return services.Door{
		Name: "keys",
		Hears: []bus.Handler{
			bus.KeyIssue.Answer(s.issue), bus.KeyList.Answer(s.list), bus.KeyRevoke.Answer(s.revoke),
			bus.KeyRotateDevice.Answer(s.rotate).Workers(1).Afterwards(s.rotated),
		},
		Says: []bus.Lane{bus.KeyIssued, bus.KeyGone, bus.KeyExpired},
		Metrics: []prometheus.Collector{
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_keys", Help: "Keys of the bus that live."}, count),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "blufio_keys_limit", Help: "Bound of blufio_keys, fixed."}, func() float64 { return maxLiving }),
		},
		Health: s.health,
		Probes: Probes(s),
	}
}

func (s *Service) health() []bus.Problem {
	trouble := s.trouble.Load()
	if trouble == nil {
		return nil
	}
	return []bus.Problem{{Code: "keys_not_in_force", Title: "the keys of the bus are not as they should be: " + (*trouble).Error(), Hint: hintFor(*trouble)}}
}

// unstored is the end of a key that could not be stored.
type unstored struct {
	name string
	err  error
}

func (e unstored) Error() string {
	return fmt.Sprintf("%s is shut out, and that could not be stored: %v", e.name, e.err)
}
func (e unstored) Unwrap() error { return e.err }

// hintFor says what to do. A restart would let a key in again whose end is not stored.
func hintFor(trouble error) string {
	if errors.As(trouble, new(unstored)) {
		return "let the database take writes again (see its checks): it is tried again until it is stored; do not restart before, for that would let the key in again"
	}
	return "restart the daemon: it reads all keys anew"
}

// Run ends keys on time.
func (s *Service) Run(ctx context.Context, _ *bus.Conn, ready func()) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	ready()
	var pruned time.Time
	for {
		now := s.d.Now()
		s.settle(ctx, now)
		s.noteSeen()
		if now.Sub(pruned) >= time.Hour {
			s.prune(ctx, now)
			pruned = now
		}
		select {
		case <-ctx.Done():
			s.noteSeen()
			return nil
		case <-s.wake:
		case <-s.old:
			s.cutOff(ctx)
		case <-s.d.After(s.untilNext(s.d.Now())):
		}
	}
}

// load reads the living keys and lets in those that the bus does not know yet: it has
// them from the start, unless this is a room that was started again.
func (s *Service) load(ctx context.Context) error {
	records, err := read(ctx, s.d.Store, `state = 'living'`)
	if err != nil {
		return err
	}
	dead, err := read(ctx, s.d.Store, `state <> 'living'`)
	if err != nil {
		return err
	}
	for _, r := range dead {
		s.d.Bus.KeyLeft(r.Public, r.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.living
	s.living = make(map[string]*record, len(records))
	s.trouble.Store(nil)
	s.count.Store(int64(len(records)))
	for _, r := range records {
		s.living[r.Public] = &r
		if old := before[r.Public]; old != nil && !old.ending.IsZero() {
			r.ending = old.ending
			s.fail(unstored{r.Name, errors.New("not tried since the room was started again")})
		}
		if r.over(s.d.Now()) || !r.ending.IsZero() {
			continue // settle tells of it
		}
		if err := s.d.Bus.AddKey(r.Key); err != nil && !errors.Is(err, embedded.ErrKnownKey) {
			s.fail(err)
		}
	}
	return nil
}

// fail notes trouble, for status and for the log.
func (s *Service) fail(err error) {
	s.trouble.Store(&err)
	s.d.Logger.Error("the keys of the bus are not as they should be", "service", "keys", "err", err)
}

// untilNext is how long until the next key ends, or is to be ended again, at most a
// minute.
func (s *Service) untilNext(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := longest
	for _, r := range s.living {
		switch {
		case r.over(now), !r.ending.IsZero():
			wait = min(wait, s.next.Sub(now))
		case !r.Expires.IsZero():
			wait = min(wait, r.Expires.Sub(now))
		}
	}
	return max(wait, time.Millisecond)
}

// settle ends the keys whose time is over, and stores the ends that could not be stored
// before, with longer and longer pauses.
func (s *Service) settle(ctx context.Context, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		return
	}
	var failed error
	tried := false
	for _, r := range s.living {
		var err error
		switch {
		case !r.ending.IsZero():
			err = s.end(ctx, r, bus.KeyRevoked, bus.KeyGone, r.ending)
		case r.over(now):
			err = s.end(ctx, r, bus.KeyOver, bus.KeyExpired, now)
		default:
			continue
		}
		tried = true
		if err != nil {
			failed = err
		}
	}
	switch {
	case failed == nil && tried:
		s.calm()
	case failed != nil && ctx.Err() == nil:
		s.later(now)
		s.fail(failed)
	}
}

// later puts the next try off. s.mu is held.
func (s *Service) later(now time.Time) {
	s.pause = min(max(2*s.pause, again), longest)
	s.next = now.Add(s.pause)
}

// calm is after a try that succeeded. s.mu is held.
func (s *Service) calm() {
	s.next, s.pause = time.Time{}, 0
	s.trouble.Store(nil)
}

// end shuts a key out, then notes it. When it cannot be noted the key stays in the
// list, out of the bus, until it is ended again. s.mu is held.
func (s *Service) end(ctx context.Context, r *record, state string, lane bus.Event[bus.KeyFact], now time.Time) error {
	seen := s.seen(r)
	if err := s.d.Bus.RemoveKey(r.Public); err != nil && !errors.Is(err, embedded.ErrUnknownKey) {
		s.fail(err) // it gets on no more; a connection may be left
	}
	err := s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE bus_keys SET state = ?, ended_at = ?, seen_at = ? WHERE public = ?`, state, now.UnixMilli(), millis(seen), r.Public)
		if err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		return eventlog.Record(s.d.Events, tx, lane, r.fact(now))
	})
	if err != nil {
		return unstored{r.Name, err}
	}
	r.state, r.ended, r.seen = state, &now, seen
	delete(s.living, r.Public)
	s.count.Store(int64(len(s.living)))
	return nil
}

func millis(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UnixMilli()
}

// seen is when the key last connected.
func (s *Service) seen(r *record) *time.Time {
	if t := s.d.Bus.LastSeen(r.Public); !t.IsZero() && (r.seen == nil || t.After(*r.seen)) {
		return &t
	}
	return r.seen
}

// noteSeen keeps when keys were seen, for after a restart. Nobody waits for it.
func (s *Service) noteSeen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.living {
		if t := s.seen(r); t != r.seen {
			r.seen = t
			err := s.d.Store.WriteLazy(func(tx *sqlite.Tx) error {
				_, err := tx.Exec(`UPDATE bus_keys SET seen_at = ? WHERE public = ?`, t.UnixMilli(), r.Public)
				return err
			}, nil)
			if err != nil {
				s.d.Logger.Warn("when a key was seen is not kept", "service", "keys", "err", err)
			}
		}
	}
}

// prune forgets dead keys.
func (s *Service) prune(ctx context.Context, now time.Time) {
	err := s.d.Store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`DELETE FROM bus_keys WHERE state <> 'living' AND (ended_at < ? OR id NOT IN
			(SELECT id FROM bus_keys WHERE state <> 'living' ORDER BY ended_at DESC, id DESC LIMIT ?))`, now.Add(-keepDead).UnixMilli(), maxDead)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.d.Logger.Warn("dead keys are not forgotten", "service", "keys", "err", err)
	}
}
