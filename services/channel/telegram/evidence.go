// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// patience is how long trouble lasts before it is told: a restart of Telegram's
// server or a lost network for moments is none.
const patience = time.Minute

// evidence is what the channel's health is judged by.
type evidence struct {
	off func() bool // no token
	now func() time.Time

	polls, sends atomic.Int64 // that failed

	mu        sync.Mutex
	success   *time.Time // last poll that was answered
	failing   time.Time  // first failure since then
	last      error
	reason    string  // of the last poll that failed, since then or before
	failure   *string // the last failure of either kind
	failureAt *time.Time
	conflict  struct{ first, last time.Time } // of a row of conflicts, successes between them or not
	down      bool                            // told as an event
}

func (e *evidence) succeeded() {
	now := e.now().UTC()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.success, e.failing, e.last = &now, time.Time{}, nil
}

func (e *evidence) failed(err error) {
	now, text := e.now().UTC(), err.Error()
	e.polls.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failing.IsZero() {
		e.failing = now
	}
	e.last, e.reason, e.failure, e.failureAt = err, text, &text, &now
	if codeOf(err) == http.StatusConflict && !says(err, "webhook") {
		if now.Sub(e.conflict.last) > 2*patience {
			e.conflict.first = now
		}
		e.conflict.last = now
	}
}

// note keeps a failure to send as evidence; polling decides about the state. That we
// pace ourselves, or that our disk is full, is no failure of Telegram's.
func (e *evidence) note(err error) {
	if !ofTelegram(err) {
		return
	}
	now, text := e.now().UTC(), err.Error()
	e.sends.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failure, e.failureAt = &text, &now
}

func (e *evidence) failures() map[string]func() float64 {
	return map[string]func() float64{"poll": func() float64 { return float64(e.polls.Load()) }, "send": func() float64 { return float64(e.sends.Load()) }}
}

// begin forgets what was wrong with another bot, or with none.
func (e *evidence) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failing, e.last, e.reason, e.failure, e.failureAt = time.Time{}, nil, "", nil, nil
	e.conflict.first, e.conflict.last = time.Time{}, time.Time{}
}

// sick reports whether there was no successful poll for too long. Two programs
// that poll in turns both succeed now and then: that is sick too.
func (e *evidence) sick() bool {
	now := e.now()
	if !e.failing.IsZero() && now.Sub(e.failing) >= patience {
		return true
	}
	return e.contested(now)
}

func (e *evidence) contested(now time.Time) bool {
	return e.conflict.last.Sub(e.conflict.first) >= patience && now.Sub(e.conflict.last) < 2*patience
}

func (e *evidence) channel() bus.Channel {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := bus.Channel{Name: Name, State: bus.Healthy, LastSuccess: e.success, LastError: e.failure, LastErrorAt: e.failureAt}
	switch {
	case e.off():
		c.State = bus.Stopped
	case e.sick(), rejectsToken(e.last), errors.As(e.last, new(*tokenError)):
		c.State = bus.Degraded
	}
	return c
}

// problems tells what an owner can mend.
func (e *evidence) problems() []bus.Problem {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.off():
		return nil
	case rejectsToken(e.last):
		return []bus.Problem{{Code: "telegram_token", Title: "Telegram does not know the bot's token",
			Hint: "copy it again from @BotFather; `blufio config set-secret telegram.bot_token` takes it, without a restart"}}
	case errors.As(e.last, new(*tokenError)):
		p := bus.Problem{Code: "telegram_token", Title: e.last.Error(), Hint: "set it again with `blufio config set-secret telegram.bot_token`"}
		if told := (*bus.Error)(nil); errors.As(e.last, &told) && told.Hint != "" {
			p.Hint = told.Hint
		}
		return []bus.Problem{p}
	case !e.sick():
		return nil
	case says(e.last, "webhook"):
		return []bus.Problem{{Code: "telegram_webhook", Title: "a webhook is set for this bot, so it cannot be polled",
			Hint: "call the Bot API's deleteWebhook once with this token, or use a bot of its own"}}
	case e.contested(e.now()), codeOf(e.last) == http.StatusConflict:
		return []bus.Problem{{Code: "telegram_conflict", Title: "another program polls this bot",
			Hint: "stop the other one, or give each a bot of its own"}}
	}
	return []bus.Problem{{Code: "telegram_down", Title: "Telegram has not been reached since " + e.failing.Format(time.RFC3339) + ": " + e.last.Error(),
		Hint: "see whether this machine reaches telegram.api_url; it is tried again by itself"}}
}

// turned returns the event that is due when the channel went down or came up, and
// what to call when it is written.
func (e *evidence) turned() (lane bus.Event[bus.ChannelFact], fact bus.ChannelFact, written func(), due bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sick := e.sick()
	if e.off() {
		e.down = false // it does not work again: nobody wants it to
	}
	if sick == e.down || e.off() {
		return lane, fact, nil, false
	}
	fact = bus.ChannelFact{Time: e.now().UTC(), Channel: Name, Since: e.failing, LastSuccess: e.success, Error: e.reason}
	if fact.Since.IsZero() {
		fact.Since = e.conflict.first
	}
	lane = bus.ChannelUp
	if sick {
		lane = bus.ChannelDown
	}
	return lane, fact, func() { e.mu.Lock(); e.down = sick; e.mu.Unlock() }, true
}

// tellEvidence records the event that is due, if any.
func (s *Service) tellEvidence(ctx context.Context) {
	lane, fact, written, due := s.evidence.turned()
	if !due || ctx.Err() != nil {
		return
	}
	err := s.store.Write(ctx, func(tx *sqlite.Tx) error { return eventlog.Record(s.events, tx, lane, fact) })
	if err != nil {
		s.log.Warn("channel's state not recorded yet", "err", err)
		return
	}
	written()
	if lane == bus.ChannelUp {
		s.log.Info("Telegram is reached again", "since", fact.Time)
		return
	}
	s.log.Warn("Telegram is not reached", "since", fact.Since, "err", fact.Error)
}
