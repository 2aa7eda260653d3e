// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	maxDeliveries = 64              // at one time
	retryCheck    = time.Second     // how often replies held back are looked at
	retryDelivery = time.Second     // first pause; doubles each time
	maxRetryPause = 5 * time.Minute // longest pause
)

// delivery is one outbox entry and the reply it stands for.
type delivery struct {
	id, session int64
	channel     string
	created     time.Time
	reply       bus.Reply
}

// post writes the outbox entry of a finished turn.
func (s *Service) post(tx *sqlite.Tx, t *turn, now time.Time) error {
	if _, err := tx.Exec(`INSERT INTO outbox (seq, session_id, created_at) VALUES (?, ?, ?)`, t.seq, t.session, now); err != nil {
		return err
	}
	tx.AfterCommit(func() { s.outbox.add(t.session, 1) })
	return nil
}

// runDeliveries hands replies to their channels until ctx ends. Deliveries under
// way end with finishing, which outlives ctx.
func (s *Service) runDeliveries(ctx, finishing context.Context) error {
	slots := make(chan struct{}, maxDeliveries)
	tick := time.NewTicker(retryCheck)
	defer tick.Stop()
	for {
		select {
		case <-s.outbox.wake:
		case <-tick.C:
			s.outbox.due(s.now())
		case <-ctx.Done():
			return nil
		}
		for s.deliverOne(ctx, finishing, slots) {
		}
	}
}

// deliverOne starts the delivery of one reply as soon as there is a slot. It is
// false when there is none to deliver, or ctx has ended.
func (s *Service) deliverOne(ctx, finishing context.Context, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	session, ok := s.outbox.claim()
	if !ok {
		<-slots
		return false
	}
	s.working.Go(func() {
		defer func() { <-slots }()
		s.deliver(finishing, session)
	})
	return true
}

// deliverRest is for what the last turns left when the room ends.
func (s *Service) deliverRest(finishing context.Context) {
	slots := make(chan struct{}, maxDeliveries)
	for finishing.Err() == nil && s.deliverOne(finishing, finishing, slots) {
	}
	s.working.Wait()
}

// deliver tries the session's oldest reply once. After a crash between the
// channel's receipt and our note of it the reply is sent again: at least once,
// under the same key.
func (s *Service) deliver(ctx context.Context, session int64) {
	d, err := s.oldest(ctx, session)
	if err != nil {
		s.log.Error("read reply", "service", "agent", "err", err)
		s.outbox.hold(session, s.now().Add(retryDelivery))
		return
	}
	err = services.Contain(func() error {
		_, err := bus.MessageSend.To(d.channel).Ask(bus.WithTrace(ctx, d.reply.MessageID), s.bus(), d.reply)
		return err
	})
	switch {
	case err == nil:
		s.metrics.messages.WithLabelValues(d.channel, "out").Inc()
		s.close(ctx, d, bus.ReplyDelivered, nil)
	case ctx.Err() != nil:
		s.outbox.hold(session, s.now()) // asked to stop: the next start tries again
	case s.now().Sub(d.created) >= s.cfg.ReplyExpires:
		s.log.Error("reply given up", "service", "agent", "trace", d.reply.MessageID, "err", err)
		s.close(ctx, d, bus.ReplyDied, err)
	default:
		s.retryLater(ctx, d, err)
	}
}

// close writes the end of an entry with its event: delivered, or dead of why.
func (s *Service) close(ctx context.Context, d delivery, lane bus.Event[bus.ReplyFact], why error) {
	fact := bus.ReplyFact{Time: s.now(), MessageID: d.reply.MessageID, Channel: d.channel, Attempts: d.reply.Attempt}
	if why != nil {
		fact.Error = why.Error()
	}
	noted := s.note(ctx, func(tx *sqlite.Tx) error {
		var err error
		if why == nil {
			_, err = tx.Exec(`DELETE FROM outbox WHERE id = ?`, d.id)
		} else {
			_, err = tx.Exec(`UPDATE outbox SET state = 'dead', attempts = ?, error = ? WHERE id = ?`, fact.Attempts, fact.Error, d.id)
		}
		if err != nil {
			return err
		}
		return eventlog.Record(s.events, tx, lane, fact)
	})
	if noted {
		s.outbox.ended(d.session)
	} else {
		s.outbox.hold(d.session, s.now()) // the room is ending
	}
}

func (s *Service) retryLater(ctx context.Context, d delivery, why error) {
	wait := pause(d.reply.Attempt)
	s.log.Warn("reply not delivered, trying again", "service", "agent", "trace", d.reply.MessageID, "attempt", d.reply.Attempt, "wait", wait.String(), "err", why)
	s.note(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE outbox SET attempts = ?, error = ? WHERE id = ?`, d.reply.Attempt, why.Error(), d.id)
		return err
	})
	s.outbox.hold(d.session, s.now().Add(wait))
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

// note writes down what became of a delivery. It needs no commit of its own: a
// note lost in a crash only means that the channel gets the same key again.
// While the disk refuses, it tries again until ctx ends, and then is false.
func (s *Service) note(ctx context.Context, fn func(tx *sqlite.Tx) error) bool {
	for ctx.Err() == nil {
		done := make(chan error, 1)
		err := s.store.WriteLazy(fn, func(err error) { done <- err })
		if err == nil {
			err = <-done
		}
		if err == nil {
			return true
		}
		s.log.Warn("delivery not noted, trying again", "service", "agent", "err", err)
		select {
		case <-time.After(retryStore):
		case <-ctx.Done():
		}
	}
	return false
}
