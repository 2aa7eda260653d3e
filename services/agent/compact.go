// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/agent/llm/offline"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// A conversation that has grown is compacted: a cheap model writes a summary of its
// older part (summarise.go), which models read instead from then on. Beyond
// agent.compact_soft that happens behind a turn, beside all others; beyond
// agent.compact_hard before the next one. What cannot be summarised, for there is no
// model, no budget or no summary that says what matters, stays as it is, and when it is
// too much the window moves on (history.go). A stop of the daemon throws a summary that
// is being made away: the conversation is there, and will be summarised later.
const (
	maxCompactions = 2  // in the background at one time
	maxCompactable = 64 // sessions that wait for one; further ones wait for their next turn
	maxFailed      = 4096
	maxSkip        = 16

	keptShare    = 0.15 // of the budget: exchanges that stay word for word
	summaryShare = 0.2  // of the budget: how long a summary may be
	leastBudget  = 200  // tokens of a budget that a summary fits into
	growth       = 0.15 // of the budget: by how much it has to grow to be tried again
	mostInput    = 2    // budgets of what one summary can be made of; what is older than that is left out
)

// How a compaction ends.
const (
	compacted     = "made"
	compactWhole  = "kept_whole" // no summary said what matters
	compactFailed = "failed"     // no model, no money
	compactLate   = "dropped"    // a new conversation was begun meanwhile, or the daemon stops
)

// compaction is one to be made.
type compaction struct {
	session int64
	key     sessionKey
	message string // id of the one that it is made behind or before
	tokens  int64  // of the conversation as models read it
	budget  int64
	when    string // soft or hard
}

// When a summary is made.
const (
	soft = "soft" // behind a turn
	hard = "hard" // before one
)

// compactor knows which sessions are being compacted, and which better not.
type compactor struct {
	waiting chan compaction

	mu     sync.Mutex
	open   map[int64]chan struct{} // by session: closed when it is done
	failed map[int64]*failure      // by session: when it is tried again
}

// failure is what is remembered of a session that could not be compacted.
type failure struct {
	times int
	from  int64 // tokens that its conversation must have in the background
	skip  int   // and how often it is let be then; twice as often each time
}

func newCompactor() *compactor {
	return &compactor{waiting: make(chan compaction, maxCompactable), open: map[int64]chan struct{}{}, failed: map[int64]*failure{}}
}

// begin says that a session is compacted now; with false, that it already is, until the
// channel closes.
func (c *compactor) begin(session int64) (done chan struct{}, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done := c.open[session]; done != nil {
		return done, false
	}
	done = make(chan struct{})
	c.open[session] = done
	return done, true
}

func (c *compactor) end(session int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done := c.open[session]; done != nil {
		close(done)
		delete(c.open, session)
	}
}

// postpone lets a session be for a while: its conversation has so many tokens, and could
// not be compacted.
func (c *compactor) postpone(session, tokens, budget int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.failed[session]
	if f == nil {
		if len(c.failed) >= maxFailed {
			clear(c.failed) // then some are tried once too often
		}
		f = &failure{}
		c.failed[session] = f
	}
	f.times++
	f.from, f.skip = tokens+share(budget, growth), min(1<<(f.times-1), maxSkip)-1
}

// running is how many are compacted now, those that wait for it left out.
func (c *compactor) running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(0, len(c.open)-len(c.waiting))
}

// postponed is how many sessions are let be.
func (c *compactor) postponed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.failed)
}

// succeeded forgets failures.
func (c *compactor) succeeded(session int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failed, session)
}

// ready reports whether a session, whose conversation has so many tokens, is to be
// compacted.
func (c *compactor) ready(session, tokens, budget int64, when string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.failed[session]
	switch {
	case f == nil:
		return true
	case when == soft && tokens < f.from:
		return false
	case f.skip > 0:
		f.skip--
		f.from = tokens + share(budget, growth)
		return false
	}
	return true
}

// compacts reports whether summaries are made at all.
func (s *Service) compacts(budget int64) bool {
	return s.cfg.CompactUSD > 0 && budget >= leastBudget && s.models.summary().Provider.Name() != offline.Name
}

// consider looks, behind a turn, whether its conversation has grown enough.
func (s *Service) consider(t *turn, out outcome) {
	budget := s.manner.Load().historyTokens
	if out.state != bus.StateAnswered || out.aside || t.purpose == purposeDoctor || !s.compacts(budget) {
		return
	}
	tokens := t.past + s.tokens(t.text) + s.tokens(out.text)
	if tokens <= share(budget, s.cfg.CompactSoft) || !s.compactor.ready(t.session, tokens, budget, soft) {
		return
	}
	if _, ok := s.compactor.begin(t.session); !ok {
		return
	}
	select {
	case s.compactor.waiting <- compaction{t.session, t.key, t.id, tokens, budget, soft}:
	default:
		s.compactor.end(t.session) // after its next turn, then
	}
}

// runCompactions makes summaries in the background until ctx ends.
func (s *Service) runCompactions(ctx context.Context) error {
	work := func(ctx context.Context) error {
		for {
			select {
			case c := <-s.compactor.waiting:
				s.compactOpen(ctx, c)
			case <-ctx.Done():
				return nil
			}
		}
	}
	loops := make([]func(context.Context) error, maxCompactions)
	for i := range loops {
		loops[i] = work
	}
	return services.Work(ctx, loops...)
}

// compactOpen makes one that was begun, and ends it. It reports whether there is a new
// summary.
func (s *Service) compactOpen(ctx context.Context, c compaction) bool {
	defer s.compactor.end(c.session)
	ctx, cancel := context.WithTimeout(bus.WithTrace(ctx, c.message), s.cfg.TurnTimeout)
	defer cancel()
	var outcome string
	err := services.Contain(func() (err error) { outcome, err = s.compact(ctx, c); return err })
	if err != nil {
		s.compactor.postpone(c.session, c.tokens, c.budget)
		s.log.Warn("conversation not summarised", "service", "agent", "trace", c.message, "err", err)
	}
	if outcome == "" && err != nil {
		outcome = compactFailed
	}
	if outcome != "" {
		s.metrics.compactionEnded(c.when, outcome)
	}
	return outcome == compacted
}

// compactShare is the part of a turn's time that it may spend on a summary.
const compactShare = 4

// compactNow compacts before the turn goes on, or waits for who is at it already. It
// reports whether there is something new to read.
func (s *Service) compactNow(ctx context.Context, t *turn, tokens int64) bool {
	budget := s.manner.Load().historyTokens
	if !s.compacts(budget) || t.purpose == purposeDoctor || !s.compactor.ready(t.session, tokens, budget, hard) {
		return false
	}
	if deadline, ok := ctx.Deadline(); ok {
		limited, cancel := context.WithTimeout(ctx, time.Until(deadline)/compactShare)
		defer cancel()
		ctx = limited
	}
	done, ok := s.compactor.begin(t.session)
	if ok {
		s.compactOpen(ctx, compaction{t.session, t.key, t.id, tokens, budget, hard})
	} else {
		select {
		case <-done:
		case <-ctx.Done():
			return false
		}
	}
	before := t.summed
	err := s.store.QueryRow(ctx, `SELECT since, window, coalesce((SELECT to_seq FROM summary WHERE session_id = session.id), 0) FROM session WHERE id = ?`, t.session).
		Scan(&t.since, &t.window, &t.summed)
	return err == nil && t.summed != before
}

// compact summarises the older part of a session's conversation and stores that. The
// error says why nothing came of it; there is none where there was nothing to do.
func (s *Service) compact(ctx context.Context, c compaction) (outcome string, err error) {
	o, err := s.older(ctx, c)
	if err != nil || len(o.exchanges) == 0 {
		return "", err
	}
	w := s.summarise(ctx, c, o)
	failpoint.Hit("summary.answered")
	if w.err != nil {
		outcome := compactFailed
		switch {
		case errors.Is(w.err, errUnfaithful):
			outcome = compactWhole
		case ctx.Err() != nil:
			outcome = compactLate
		}
		return outcome, errors.Join(w.err, s.bookAlone(ctx, w.used))
	}
	stored, err := s.commitSummary(context.WithoutCancel(ctx), c, o, w) // it is paid for
	switch {
	case err != nil:
		return compactFailed, errors.Join(fmt.Errorf("store summary: %w", err), s.bookAlone(ctx, w.used))
	case !stored:
		return compactLate, nil
	}
	failpoint.Hit("summary.committed")
	s.compactor.succeeded(c.session)
	return compacted, nil
}

// older is what a summary is made of.
type older struct {
	since     int64 // the conversation's begin, as it was
	before    summary
	exchanges []exchange // oldest first, all behind before
	tokens    int64      // of all these, that summary included
}

// older reads the part of a conversation that does not stay word for word.
func (s *Service) older(ctx context.Context, c compaction) (o older, err error) {
	err = s.store.QueryRow(ctx, `SELECT since FROM session WHERE id = ?`, c.session).Scan(&o.since)
	if err != nil {
		return o, fmt.Errorf("read session: %w", err)
	}
	err = s.store.QueryRow(ctx, selectSummary, c.session).Scan(&o.before.from, &o.before.to, &o.before.fromAt, &o.before.text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return o, fmt.Errorf("read summary: %w", err)
	}
	if o.before.to <= o.since {
		o.before = summary{}
	}
	const endless = int64(1) << 62
	newest, err := s.exchanges(ctx, c.session, max(o.since, o.before.to), endless, func(all []exchange) bool { return sum(all) > mostInput*c.budget })
	if err != nil {
		return o, fmt.Errorf("read conversation: %w", err)
	}
	kept := 0
	for left := share(c.budget, keptShare); kept < len(newest); kept++ {
		if left -= newest[kept].tokens; left < 0 && (kept > 0 || newest[0].tokens > c.budget/2) { // the last one stays unless it is very long
			break
		}
	}
	for i := len(newest) - 1; i >= kept; i-- {
		o.exchanges = append(o.exchanges, newest[i])
	}
	o.tokens = sum(o.exchanges) + s.tokens(o.before.text)
	return o, nil
}

// commitSummary stores a summary with what it cost, or only that where its conversation
// is over, or has got another one meanwhile.
func (s *Service) commitSummary(ctx context.Context, c compaction, o older, w written) (stored bool, err error) {
	now := s.now()
	sum := summary{from: o.exchanges[0].seq, to: o.exchanges[len(o.exchanges)-1].seq, fromAt: o.exchanges[0].at, text: w.text, provider: w.provider, model: w.model}
	if o.before.text != "" {
		sum.from, sum.fromAt = o.before.from, o.before.fromAt
	}
	err = s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := s.bookLater(tx, w.used); err != nil {
			return err
		}
		var since, to int64
		err := tx.QueryRow(`SELECT since, coalesce((SELECT to_seq FROM summary WHERE session_id = session.id), 0) FROM session WHERE id = ?`, c.session).Scan(&since, &to)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if stored = since == o.since && (to == o.before.to || to <= since); !stored {
			return nil
		}
		if err := s.keep(tx, c.session, sum, now); err != nil {
			return err
		}
		return eventlog.Record(s.events, tx, bus.ContextCompacted, bus.CompactedFact{Time: now, Session: c.key.name, Channel: c.key.channel, MessageID: c.message,
			FromSeq: sum.from, ToSeq: sum.to, Exchanges: len(o.exchanges), TokensBefore: o.tokens, TokensAfter: s.tokens(w.text),
			Provider: w.provider, Model: w.model, Tries: w.tries, Calls: w.calls(), InputTokens: w.input(), OutputTokens: w.output(), Before: c.when == hard})
	})
	return stored && err == nil, err
}

// bookAlone writes what was used where nothing came of it.
func (s *Service) bookAlone(ctx context.Context, used []bus.Settle) error {
	if len(used) == 0 {
		return nil
	}
	return s.store.Write(context.WithoutCancel(ctx), func(tx *sqlite.Tx) error { return s.bookLater(tx, used) })
}
