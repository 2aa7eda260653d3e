// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// delivery is one outbox entry and the reply it stands for.
type delivery struct {
	id, session int64
	channel     string
	created     time.Time
	received    time.Time // its message
	retried     bool      // at the operator's word
	reply       bus.Reply
}

// post writes the outbox entry of a finished turn.
func (s *Service) post(tx *sqlite.Tx, t *turn, now time.Time) error {
	if _, err := tx.Exec(`INSERT INTO outbox (seq, session_id, created_at) VALUES (?, ?, ?)`, t.seq, t.session, now); err != nil {
		return err
	}
	tx.AfterCommit(func() {
		failpoint.Hit("turn.committed")
		s.outboxOf(t.key.channel).add(t.session, now)
	})
	return nil
}

// runDeliveries hands one channel its replies until ctx ends. Deliveries under
// way end with finishing, which outlives ctx.
func (s *Service) runDeliveries(ctx, finishing context.Context, o *outbox) error {
	slots := make(chan struct{}, s.cfg.MaxDeliveries)
	var look <-chan time.Time // nil while nothing is held back: a clock for each channel was half of what an idle daemon did
	for {
		if look == nil && o.holds() {
			look = time.After(s.pauses.check)
		}
		select {
		case <-o.wake:
		case <-look:
			look = nil
			o.due(s.now())
		case <-ctx.Done():
			return nil
		}
		for s.deliverOne(ctx, finishing, o, slots) {
		}
	}
}

// deliverOne starts the delivery of one reply as soon as there is a slot. It is
// false when there is none to deliver, or ctx has ended.
func (s *Service) deliverOne(ctx, finishing context.Context, o *outbox, slots chan struct{}) bool {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	session, ok := o.claim()
	if !ok {
		<-slots
		return false
	}
	s.underway.Add(1)
	s.spawn(&s.delivering, func() {
		defer func() { s.underway.Add(-1); <-slots }()
		s.deliver(finishing, o, session)
	})
	return true
}

// deliverRest is for what the last turns left when the room ends: each reply is
// tried once, those of one session after another.
func (s *Service) deliverRest(finishing context.Context) {
	slots := make(chan struct{}, s.cfg.MaxDeliveries)
	for more := true; more && finishing.Err() == nil; {
		more = false
		for _, o := range s.outbox {
			for finishing.Err() == nil && s.deliverOne(finishing, finishing, o, slots) {
				more = true
			}
		}
		s.delivering.Wait()
	}
}

// deliver tries the session's oldest reply once. After a crash between the
// channel's receipt and our note of it the reply is sent again: at least once,
// under the same key.
func (s *Service) deliver(ctx context.Context, o *outbox, session int64) {
	d, err := s.oldest(ctx, session)
	if err != nil {
		s.log.Error("read reply", "service", "agent", "err", err)
		o.hold(session, s.now().Add(s.pauses.delivery))
		return
	}
	failpoint.Hit("deliver.ask")
	err = services.Contain(func() error {
		_, err := bus.MessageSend.To(d.channel).Ask(bus.WithTrace(ctx, d.reply.MessageID), s.bus(), d.reply)
		return err
	})
	switch {
	case err == nil:
		failpoint.Hit("deliver.receipt")
		s.delivered(d)
		s.close(ctx, o, d, bus.ReplyDelivered, nil)
	case ctx.Err() != nil:
		o.hold(session, s.now()) // asked to stop: the next start tries again
	case s.now().Sub(d.created) >= s.cfg.ReplyExpires, refusedForGood(err):
		s.metrics.deliveriesFailed.Add(1)
		s.log.Error("reply given up", "service", "agent", "trace", d.reply.MessageID, "err", err)
		s.close(ctx, o, d, bus.ReplyDied, err)
	case bus.Nobody(err):
		// The channel's room is starting or restarting: nobody has seen the reply, so
		// this is no attempt, and it is looked for again soon.
		o.hold(session, s.now().Add(doubled(s.pauses.absent, o.absence(session), s.pauses.absentMost)))
	default:
		s.retryLater(ctx, o, d, err)
	}
}

// delivered counts a reply and the time that it took. What the operator took up again
// waited for that, which says nothing of the agent.
func (s *Service) delivered(d delivery) {
	s.metrics.messages.WithLabelValues(s.label(d.channel), "out").Inc()
	if !d.retried {
		now := s.now()
		s.metrics.took(partDelivery, now.Sub(d.created))
		s.metrics.latency.Observe(max(0, now.Sub(d.received).Seconds()))
	}
}

// refusedForGood reports whether the channel will never take this reply: the person
// blocked the bot, the chat is gone, or the channel cannot carry such a text. To try
// on would only hold up the replies behind it.
func refusedForGood(err error) bool {
	switch bus.CodeOf(err) {
	case bus.CodeDenied, bus.CodeInvalid, bus.CodeTooLarge:
		return true
	}
	return false
}

// close writes the end of an entry with its event: delivered, or dead of why.
func (s *Service) close(ctx context.Context, o *outbox, d delivery, lane bus.Event[bus.ReplyFact], why error) {
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
		failpoint.Hit("deliver.noted")
		o.ended(d.session)
	} else {
		o.hold(d.session, s.now()) // the room is ending
	}
}

func (s *Service) retryLater(ctx context.Context, o *outbox, d delivery, why error) {
	s.metrics.deliveriesFailed.Add(1)
	wait, least := s.pauses.before(o.failure(d.session)), time.Duration(0)
	if e := (*bus.Error)(nil); errors.As(why, &e) && e.RetryAfter > 0 {
		least = min(e.RetryAfter, s.pauses.deliveryMost) // the channel knows better
		wait = max(wait, least)
	}
	s.log.Warn("reply not delivered, trying again", "service", "agent", "trace", d.reply.MessageID, "attempt", d.reply.Attempt, "wait", wait.String(), "err", why)
	s.note(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE outbox SET attempts = ?, error = ? WHERE id = ?`, d.reply.Attempt, why.Error(), d.id)
		return err
	})
	o.postpone(d.session, s.now(), wait, least)
}

// channelUp hears that a channel works again: what waits for that need not wait for its next try, which after a long
// outage is minutes away.
func (s *Service) channelUp(_ context.Context, f bus.ChannelFact) {
	if o := s.outbox[f.Channel]; o != nil {
		o.back(s.now())
	}
}

// before returns the pause before the next try after so many failures: doubling, with jitter, bounded.
func (p pauses) before(failures int) time.Duration {
	d := doubled(p.delivery, failures, p.deliveryMost)
	return d/2 + rand.N(d/2+1)
}

// doubled is first the first time and then twice as much each time, up to most.
func doubled(first time.Duration, times int, most time.Duration) time.Duration {
	d := first
	for i := 1; i < times && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// note writes down what became of a delivery. It needs no commit of its own: a
// note lost in a crash only means that the channel gets the same key again.
// While the disk refuses, it tries again until ctx ends, and then is false.
func (s *Service) note(ctx context.Context, fn func(tx *sqlite.Tx) error) bool {
	for ctx.Err() == nil {
		done := make(chan error, 1)
		err := s.keepNote(fn, func(err error) { done <- err })
		if err == nil {
			err = <-done
		}
		if err == nil {
			return true
		}
		s.log.Warn("delivery not noted, trying again", "service", "agent", "err", err)
		select {
		case <-time.After(s.pauses.store):
		case <-ctx.Done():
		}
	}
	return false
}
