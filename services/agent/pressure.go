// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

// pressure is what the governor last said of the process's memory. It says it again
// while it is not normal, so silence for a while is normal too: without evidence
// nobody is turned away.
type pressure struct {
	now     func() time.Time
	changed chan struct{} // it was said again

	mu      sync.Mutex
	level   string
	heard   time.Time
	pressed time.Time // when it was last not normal
}

func (p *pressure) hear(level string) {
	p.mu.Lock()
	p.level, p.heard = level, p.now()
	if level != "" && level != bus.PressureNormal {
		p.pressed = p.heard
	}
	p.mu.Unlock()
	wake(p.changed)
}

// pressedHolds is how long memory counts as short after it was: what has waited would
// fill it again at once.
const pressedHolds = 30 * time.Second

// short reports whether memory is short, or was a moment ago.
func (p *pressure) short() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.pressed.IsZero() && p.now().Sub(p.pressed) < pressedHolds
}

// critical reports whether memory is about to run out.
func (p *pressure) critical() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level == bus.PressureCritical && p.now().Sub(p.heard) < bus.LevelHolds
}

// askPressure is for the start: what was said before is not heard any more. A
// governor that does not answer will say it.
func (s *Service) askPressure(ctx context.Context) {
	if m, err := bus.MemoryRead.Ask(ctx, s.bus(), bus.MemoryQuery{}); err == nil {
		s.pressure.hear(m.Pressure)
	}
}

// memoryPause is when one who wants to begin a session should come back. It is long
// enough for a channel to tell a person so, instead of waiting.
const memoryPause = 30 * time.Second

// checkMemory refuses, while memory is about to run out, to begin a session. Those
// that there are go on.
func (s *Service) checkMemory(ctx context.Context, key sessionKey) error {
	if !s.pressure.critical() || s.queue.state(key) != "idle" {
		return nil
	}
	var known bool
	if err := s.store.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM session WHERE channel = ? AND owner = ? AND name = ?)`,
		key.channel, key.owner, key.name).Scan(&known); err != nil {
		return fmt.Errorf("look for session: %w", err)
	}
	if known {
		return nil
	}
	s.metrics.sessionsRefused.Inc()
	return &bus.Error{Code: bus.CodeBusy, RetryAfter: memoryPause, Message: "busy: memory is short, so no new conversation can begin",
		Hint: "try again in a moment; conversations that have begun go on"}
}

// pressedPart is by how much fewer turns run at one time while memory is short, for what
// they hold is most of what a crowd takes. Nobody is refused by that: further ones wait.
const pressedPart = 4

// awaitMemory waits until one more turn may run, of running ones, and reports false when
// ctx ends before.
func (s *Service) awaitMemory(ctx context.Context, running func() int) bool {
	for s.pressure.short() && running() >= max(1, s.cfg.MaxTurns/pressedPart) {
		select {
		case <-s.turnEnded:
		case <-s.pressure.changed:
		case <-time.After(bus.LevelHolds): // the governor may have gone silent
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// shed answers gov.shed. What is spare when nothing presses are the tables that grew
// with a burst of sessions; under pressure also the summaries in memory, which are read
// again, and the connections kept for the next question to a model, or call of a tool.
func (s *Service) shed(_ context.Context, q bus.Shed) (bus.Freed, error) {
	freed := s.queue.shrink()
	for _, o := range s.outbox {
		freed += o.shrink()
	}
	if q.Pressure != bus.PressureNormal {
		freed += s.toolSet.Shed() + s.summaries.shed()
		for _, m := range s.models.all() {
			if p, ok := m.Provider.(interface{ Shed() int64 }); ok {
				freed += p.Shed()
			}
		}
	}
	return bus.Freed{Bytes: freed}, nil
}

// Bytes of a place in a table, about; a table that has grown keeps them for ever.
const (
	queueEntry  = 96
	outboxEntry = 32
	spareLeast  = 256 // places that are not worth the trouble
)

// shrink copies the tables into ones of the size that they need now.
func (q *queue) shrink() (freed int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if spare := q.most - len(q.sessions); spare >= spareLeast {
		q.sessions, q.most = fitted(q.sessions), len(q.sessions)
		freed += int64(spare) * queueEntry
	}
	if spare := cap(q.ready) - len(q.ready); spare >= spareLeast {
		q.ready = append(make([]*session, 0, len(q.ready)), q.ready...)
		freed += int64(spare) * 8
	}
	return freed
}

func (o *outbox) shrink() (freed int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if spare := o.most - len(o.sessions); spare >= spareLeast {
		o.sessions, o.most = fitted(o.sessions), len(o.sessions)
		freed = int64(spare) * outboxEntry
	}
	return freed
}

// fitted is a copy of m without the room that m has kept from when it was larger.
func fitted[K comparable, V any](m map[K]V) map[K]V {
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}
