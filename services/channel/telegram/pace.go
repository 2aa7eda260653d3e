// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"sync"
	"time"
)

// maxHolds bounds the chats that are remembered as silent. Far more than are written to
// at once, so the one forgotten is not one that somebody is about to write to.
const maxHolds = 1000

// pace keeps to Telegram's bounds: a gap between any two messages, and silence in
// a chat for as long as Telegram asked for.
type pace struct {
	now func() time.Time
	gap func() time.Duration

	mu    sync.Mutex
	next  time.Time
	holds map[int64]time.Time // by chat, at most maxHolds; those that are over are dropped
}

func newPace(now func() time.Time, gap func() time.Duration) *pace {
	return &pace{now: now, gap: gap, holds: map[int64]time.Time{}}
}

// wait takes the next slot and returns how long to wait for it.
func (p *pace) wait(chat int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	at := now
	if p.next.After(at) {
		at = p.next
	}
	p.next = at.Add(p.gap())
	if until := p.holds[chat]; until.After(at) {
		at = until
	}
	return at.Sub(now)
}

// hold keeps a chat silent for d. Where too many are silent, the one that may speak
// soonest is forgotten: its next message is refused by Telegram, who then says again
// how long to wait, so none is lost and no other chat waits for it. The chat at hand is
// never the one, or its message would be tried over and over.
func (p *pace) hold(chat int64, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	var soonest int64
	var at time.Time
	for c, until := range p.holds {
		switch {
		case !until.After(now):
			delete(p.holds, c)
		case c != chat && (at.IsZero() || until.Before(at)):
			soonest, at = c, until
		}
	}
	if _, known := p.holds[chat]; !known && len(p.holds) >= maxHolds {
		delete(p.holds, soonest)
	}
	p.holds[chat] = now.Add(d)
}

// silent is how many chats are remembered as silent.
func (p *pace) silent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.holds)
}

// recent remembers the last few hundred ids.
type recent struct {
	ids  map[string]bool
	ring [512]string
	at   int
}

func (r *recent) add(id string) {
	if r.ids[id] {
		return
	}
	if r.ids == nil {
		r.ids = map[string]bool{}
	}
	delete(r.ids, r.ring[r.at])
	r.ring[r.at] = id
	r.ids[id] = true
	r.at = (r.at + 1) % len(r.ring)
}

func (r *recent) has(id string) bool { return r.ids[id] }

// maxTyping bounds the chats that show that the bot is typing.
const maxTyping = 64

// typing knows who waits for an answer.
type typing struct {
	limit time.Duration
	now   func() time.Time
	kick  chan struct{}

	mu      sync.Mutex
	waiting map[string]typer // by message id
	over    recent           // replies that came before their acceptance was seen
}

type typer struct {
	place place
	until time.Time
}

func newTyping(limit time.Duration, now func() time.Time) *typing {
	return &typing{limit: limit, now: now, kick: make(chan struct{}, 1), waiting: map[string]typer{}}
}

func (t *typing) begin(id string, p place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over.has(id) || len(t.waiting) >= maxTyping || t.limit <= 0 {
		return
	}
	t.waiting[id] = typer{p, t.now().Add(t.limit)}
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

func (t *typing) end(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waiting, id)
	t.over.add(id)
}

// places are where it is shown now, each once.
func (t *typing) places() map[place]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[place]bool{}
	for id, w := range t.waiting {
		if t.now().After(w.until) {
			delete(t.waiting, id)
			continue
		}
		out[w.place] = true
	}
	return out
}

// showTyping says "typing" in every chat that waits, again and again.
func (s *Service) showTyping(ctx context.Context) error {
	tick := time.NewTicker(s.pauses.typing)
	defer tick.Stop()
	shown := map[place]bool{}
	for {
		kicked := false
		select {
		case <-s.typing.kick:
			kicked = true
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		places := s.typing.places()
		for p := range places {
			if kicked && shown[p] {
				continue // it shows already
			}
			if err := s.api.call(ctx, "sendChatAction", action{p, "typing"}, nil); err != nil && ctx.Err() == nil {
				s.log.Debug("typing not shown", "err", err)
			}
		}
		shown = places
	}
}
