// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

// DraftBytes is the most memory that answers shown while they are made can take.
const DraftBytes = maxDrafts * maxDraft

const (
	maxDrafts  = 64               // answers shown at once while they are made; others come whole
	maxDraft   = 64 << 10         // bytes of one that are shown
	draftLimit = 15 * time.Minute // without a word: the turn is lost, or has no reply
)

// LastWords is how long the room's end waits for what Telegram has not yet answered:
// rooms end one after another, and what one takes the next does not have.
const LastWords = time.Second / 2

// draft is an answer that is shown while it is made.
type draft struct {
	id    string // of the person's message
	place place
	life  context.Context                  // the room's
	note  func(part int, p sentPart) error // that Telegram has accepted it
	stop  context.CancelFunc
	done  chan struct{} // closed when nothing is sent for it any more
	wake  chan struct{}

	mu             sync.Mutex
	heard          time.Time
	attempt, round int
	next           int // number of the next piece
	lost           bool
	text           strings.Builder

	shown []string // what each part says now; of the goroutine that shows it, then of who waited for done
}

// hear takes a piece of an answer.
func (s *Service) hear(p bus.Delta) {
	if d := s.draftOf(p); d != nil {
		d.hear(p, s.now())
	}
}

// draftOf finds or begins the draft of a message. One whose reply has come is over.
func (s *Service) draftOf(p bus.Delta) *draft {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.drafts[p.MessageID]; d != nil {
		return d
	}
	at, err := s.moved.place(p.Owner, p.Session)
	if s.life == nil || s.life.Err() != nil || s.cfg.BotToken.IsZero() || len(s.drafts) >= maxDrafts || len(s.unnoted) > 0 || err != nil || s.over.has(p.MessageID) {
		return nil
	}
	life := s.life // the message is out: only the room's end keeps its id from being noted
	ctx, stop := context.WithCancel(life)
	d := &draft{id: p.MessageID, place: at, life: life, stop: stop, done: make(chan struct{}), wake: make(chan struct{}, 1), heard: s.now()}
	d.note = func(n int, p sentPart) error { return s.record(life, d.id, n, p) }
	s.drafts[d.id] = d
	s.work.Go(func() {
		defer s.dropDraft(d)
		defer close(d.done)
		defer stop()
		if err := services.Contain(func() error { return s.show(ctx, d) }); err != nil && ctx.Err() == nil {
			s.log.Warn("answer not shown while it is made", "trace", d.id, "err", err)
		}
	})
	return d
}

func (s *Service) dropDraft(d *draft) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drafts[d.id] == d {
		delete(s.drafts, d.id)
	}
}

// endIdle ends the drafts that no piece has come for.
func (s *Service) endIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.drafts {
		if s.now().Sub(d.lastHeard()) >= draftLimit {
			d.stop()
		}
	}
}

// replied keeps pieces from beginning a draft again.
func (s *Service) replied(id string) *draft {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over.add(id)
	return s.drafts[id]
}

// endDraft stops showing an answer and returns what it shows. It can be called
// again when ctx has ended first.
func (s *Service) endDraft(ctx context.Context, id string) ([]string, error) {
	d := s.replied(id)
	if d == nil {
		return nil, nil
	}
	d.stop()
	select {
	case <-d.done:
		return d.shown, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("end the draft: %w", ctx.Err())
	}
}

// hear adds a piece. A higher attempt or round begins anew; a gap ends the showing
// of that round.
func (d *draft) hear(p bus.Delta, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = now
	if p.Attempt < d.attempt || p.Attempt == d.attempt && p.Round < d.round {
		return // late
	}
	if p.Attempt > d.attempt || p.Round > d.round {
		d.attempt, d.round, d.next, d.lost = p.Attempt, p.Round, 0, false
		d.text.Reset()
	}
	if d.lost || p.N < d.next {
		return
	}
	if p.N > d.next || d.text.Len()+len(p.Text) > maxDraft {
		d.lost = true
		return
	}
	d.next++
	d.text.WriteString(p.Text)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *draft) lastHeard() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.heard
}

func (d *draft) now() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// show sends the first words at once and then keeps the message up to date.
func (s *Service) show(ctx context.Context, d *draft) error {
	have, err := s.sent(ctx, d.id)
	if err != nil {
		return err
	}
	var ids []int64
	for n := 0; ; n++ {
		p, ok := have[n]
		if !ok {
			break
		}
		if p.final {
			s.replied(d.id)
			return nil
		}
		ids = append(ids, p.id)
	}
	d.shown = make([]string, len(ids))
	for {
		select {
		case <-d.wake:
		case <-ctx.Done():
			return nil
		}
		if err := s.showNow(ctx, d, &ids); err != nil {
			return err
		}
		if !sleep(ctx, s.interval(d.place.Chat)) {
			return nil
		}
	}
}

// interval is the time between two changes of a draft. Telegram counts by chat, so
// drafts that are shown in the same one share it.
func (s *Service) interval(chat int64) time.Duration {
	every := s.cfg.EditInterval
	if chat < 0 { // a group
		every = max(every, s.pauses.group)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, d := range s.drafts {
		if d.place.Chat == chat {
			n++
		}
	}
	return every * time.Duration(max(n, 1))
}

// showNow brings every part up to date. Each message's id is stored before the
// message is changed for the first time, so that a later run finds it.
func (s *Service) showNow(ctx context.Context, d *draft, ids *[]int64) error {
	for n, part := range split(d.now(), maxUnits) {
		text := part.html()
		if n < len(d.shown) && d.shown[n] == text {
			continue
		}
		if n < len(*ids) {
			err := s.unhurried(ctx, d, func(ctx context.Context) error { return s.edit(ctx, d.place.Chat, (*ids)[n], part) })
			if err != nil {
				return err
			}
			d.shown[n] = text
			continue
		}
		var id int64
		err := s.unhurried(ctx, d, func(ctx context.Context) (err error) { id, err = s.send(ctx, d.place, part); return err })
		if err != nil {
			return err
		}
		*ids = append(*ids, id)
		d.shown = append(d.shown, text)
		if err := d.note(n, sentPart{id: id}); err != nil {
			return err
		}
		s.metrics.shown.Inc()
	}
	return nil
}

// unhurried makes a request for a draft: slower after each "too fast", and not
// at all once the reply is there. One that has begun is cut off only by the room's end.
func (s *Service) unhurried(ctx context.Context, d *draft, request func(context.Context) error) error {
	for {
		if ctx.Err() != nil {
			return ctx.Err() // the reply gets the slot
		}
		if !sleep(ctx, s.pace.wait(d.place.Chat)) {
			return ctx.Err()
		}
		err := outliving(ctx, d.life, request)
		var e *apiError
		if !errors.As(err, &e) || e.code != http.StatusTooManyRequests {
			return err
		}
		s.limited(d.place.Chat, e)
	}
}

// outliving makes a request that ctx does not cut off, and the end of life only after a
// moment: whether a message was shown is to be known.
func outliving(ctx, life context.Context, request func(context.Context) error) error {
	ctx, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer context.AfterFunc(life, func() { time.AfterFunc(LastWords, cut) })()
	return request(ctx)
}

// limited keeps a chat silent for as long as Telegram asks for.
func (s *Service) limited(chat int64, e *apiError) {
	s.metrics.limited.Inc()
	wait := max(e.retryAfter, s.pauses.first)
	s.pace.hold(chat, wait)
	s.log.Warn("Telegram wants fewer messages in a chat", "wait", wait.String())
}
