// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	maxDeliveries = 64              // at one time
	sweepEvery    = time.Second     // while replies wait for another try
	retryDelivery = time.Second     // first pause; doubles each time
	maxRetryPause = 5 * time.Minute // longest pause
)

// outbox knows, in memory, which sessions have undelivered replies; the replies
// are in the outbox table. Replies of one session leave one after another.
type outbox struct {
	mu      sync.Mutex
	total   int
	waiting map[int64]int // undelivered replies by session row
	sending map[int64]bool
	wake    chan struct{}
	slots   chan struct{}
}

func newOutbox() *outbox {
	return &outbox{waiting: map[int64]int{}, sending: map[int64]bool{}, wake: make(chan struct{}, 1), slots: make(chan struct{}, maxDeliveries)}
}

func (o *outbox) depth() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total
}

// add counts n new replies of a session.
func (o *outbox) add(session int64, n int) {
	o.mu.Lock()
	o.waiting[session] += n
	o.total += n
	o.mu.Unlock()
	wake(o.wake)
}

// remove counts a reply as delivered or given up.
func (o *outbox) remove(session int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total--
	if o.waiting[session]--; o.waiting[session] <= 0 {
		delete(o.waiting, session)
	}
}

// take reserves a session for one delivery, and a slot to do it in.
func (o *outbox) take(session int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sending[session] {
		return false
	}
	select {
	case o.slots <- struct{}{}:
		o.sending[session] = true
		return true
	default:
		return false
	}
}

func (o *outbox) release(session int64) {
	o.mu.Lock()
	delete(o.sending, session)
	more := o.total > 0
	o.mu.Unlock()
	<-o.slots
	if more {
		wake(o.wake)
	}
}

// delivery is one outbox entry and the reply it stands for.
type delivery struct {
	id, session int64
	channel     string
	created     time.Time
	reply       bus.Reply
}

// post writes the outbox entry of a finished turn.
func (s *Service) post(tx *sqlite.Tx, t *turn, out outcome, now time.Time) error {
	if _, err := tx.Exec(`INSERT INTO outbox (seq, session_id, next_at, created_at) VALUES (?, ?, ?, ?)`, t.seq, t.session, now, now); err != nil {
		return err
	}
	tx.AfterCommit(func() { s.outbox.add(t.session, 1) })
	return nil
}

// loadOutbox counts what an earlier run left undelivered. It is tried at once.
func (s *Service) loadOutbox(ctx context.Context) error {
	s.outbox.mu.Lock()
	s.outbox.total = 0
	clear(s.outbox.waiting)
	s.outbox.mu.Unlock()
	rows, err := s.store.Query(ctx, `SELECT session_id, count(*) FROM outbox WHERE state = 'pending' GROUP BY session_id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var session int64
		var n int
		if err := rows.Scan(&session, &n); err != nil {
			return err
		}
		s.outbox.add(session, n)
	}
	return rows.Err()
}

// noteDelivery writes down what became of a delivery before the session's next
// one. It needs no commit of its own: a lost note only means that the channel
// gets the same key again. While the disk refuses, it tries again until ctx ends.
func (s *Service) noteDelivery(ctx context.Context, fn func(tx *sqlite.Tx) error) {
	for ctx.Err() == nil {
		done := make(chan error, 1)
		err := s.store.WriteLazy(fn, func(err error) { done <- err })
		if err == nil {
			err = <-done
		}
		if err == nil {
			return
		}
		s.log.Warn("delivery not noted, trying again", "service", "agent", "err", err)
		select {
		case <-time.After(retryStore):
		case <-ctx.Done():
		}
	}
}

// runDeliveries hands due replies to their channels until ctx ends.
func (s *Service) runDeliveries(ctx, finishing context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.outbox.wake:
		case <-tick.C:
			if s.outbox.depth() == 0 {
				continue
			}
		case <-ctx.Done():
			return nil
		}
		if err := s.sweep(ctx, finishing); err != nil && ctx.Err() == nil {
			s.log.Warn("read outbox", "service", "agent", "err", err)
		}
	}
}

// sweep starts the delivery of each session's oldest reply that is due.
func (s *Service) sweep(ctx, finishing context.Context) error {
	due, err := s.due(ctx)
	if err != nil {
		return err
	}
	for _, d := range due {
		if !s.outbox.take(d.session) {
			continue // its turn comes with the next sweep
		}
		s.working.Go(func() {
			defer s.outbox.release(d.session)
			s.deliver(finishing, d)
		})
	}
	return nil
}

func (s *Service) due(ctx context.Context) ([]delivery, error) {
	rows, err := s.store.Query(ctx, `SELECT o.id, o.session_id, o.attempts, o.created_at, s.channel, s.owner, s.name, m.id, m.state, m.reply
		FROM outbox o JOIN session s ON s.id = o.session_id JOIN message m ON m.seq = o.seq
		WHERE o.state = 'pending' AND o.next_at <= ?
		AND NOT EXISTS (SELECT 1 FROM outbox e WHERE e.state = 'pending' AND e.session_id = o.session_id AND e.id < o.id)
		ORDER BY o.next_at LIMIT ?`, s.now(), 2*maxDeliveries)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []delivery
	for rows.Next() {
		var d delivery
		var created int64
		r := &d.reply
		if err := rows.Scan(&d.id, &d.session, &r.Attempt, &created, &d.channel, &r.Owner, &r.Session, &r.MessageID, &r.State, &r.Text); err != nil {
			return nil, err
		}
		d.created = time.UnixMilli(created)
		r.Attempt++
		r.Key = r.MessageID
		out = append(out, d)
	}
	return out, rows.Err()
}

// deliver tries once. After a crash between the channel's receipt and our note
// of it the reply is sent again: at least once, under the same key.
func (s *Service) deliver(ctx context.Context, d delivery) {
	err := services.Contain(func() error {
		_, err := bus.MessageSend.To(d.channel).Ask(bus.WithTrace(ctx, d.reply.MessageID), s.bus(), d.reply)
		return err
	})
	if err == nil {
		s.metrics.messages.WithLabelValues(d.channel, "out").Inc()
		s.closeDelivery(ctx, d, bus.ReplyDelivered, "", `DELETE FROM outbox WHERE id = ?`, d.id)
		return
	}
	now := s.now()
	if now.Sub(d.created) >= s.cfg.ReplyExpires {
		s.log.Error("reply given up", "service", "agent", "trace", d.reply.MessageID, "err", err)
		s.closeDelivery(ctx, d, bus.ReplyDied, err.Error(), `UPDATE outbox SET state = 'dead', attempts = attempts + 1, error = ?2 WHERE id = ?1`, d.id, err.Error())
		return
	}
	next := now.Add(pause(d.reply.Attempt))
	s.log.Warn("reply not delivered, trying again", "service", "agent", "trace", d.reply.MessageID, "attempt", d.reply.Attempt, "err", err)
	s.noteDelivery(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE outbox SET attempts = attempts + 1, next_at = ?, error = ? WHERE id = ?`, next, err.Error(), d.id)
		return err
	})
}

// pause before the next try: doubling, with jitter, bounded.
func pause(attempt int) time.Duration {
	d := retryDelivery
	for i := 1; i < attempt && d < maxRetryPause; i++ {
		d *= 2
	}
	d = min(d, maxRetryPause)
	return d/2 + rand.N(d/2+1)
}

// closeDelivery ends an entry with its event.
func (s *Service) closeDelivery(ctx context.Context, d delivery, lane bus.Event[bus.ReplyFact], why, sql string, args ...any) {
	fact := bus.ReplyFact{Time: s.now(), MessageID: d.reply.MessageID, Channel: d.channel, Attempts: d.reply.Attempt, Error: why}
	s.noteDelivery(ctx, func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(sql, args...); err != nil {
			return err
		}
		tx.AfterCommit(func() { s.outbox.remove(d.session) })
		return eventlog.Record(s.events, tx, lane, fact)
	})
}
