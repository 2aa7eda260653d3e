// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// maxAttempts bounds how often a turn begins: after so many without an end, its
// message is a dead letter.
const maxAttempts = 3

// turn is one message on its way to an answer.
type turn struct {
	seq      int64
	id       string
	key      sessionKey
	session  int64 // row
	since    int64 // the conversation begins behind this seq
	window   int64 // models read it from behind this seq on
	summed   int64 // there is a summary up to this seq; 0: none
	moved    bool  // window is to be stored
	text     string
	received time.Time
	started  time.Time
	attempt  int    // from 1; it grows each time the turn begins
	crashes  int    // attempts that ended in one, as far as known
	purpose  string // of its model calls
	canceled bool   // before the turn began
	hard     bool   // the person asked for thought
	steps    []step // rounds already done, also by an attempt before a crash
	tools    int
	used     []bus.Settle // model calls since the last commit
	files    []bus.Attachment
	unread   error // what of it cannot be read
	holds    holding

	route           []Model        // who is asked, in order; see complete
	trimmed         map[string]int // messages of the history that a model cannot read, by model
	provider, model string         // who was asked last
	calls           int            // of models, in all attempts as far as known
	anew            int            // how often text was said in this attempt that does not count

	lead int   // messages of the conversation that are its summary
	past int64 // tokens of summary and history that models read

	context, asking, using, storing time.Duration // parts of its time
}

// outcome is how a turn ended.
type outcome struct {
	state string
	code  bus.Code
	text  string
	quiet bool                      // nobody is told
	aside bool                      // no part of the conversation
	write func(tx *sqlite.Tx) error // a lasting effect, may be nil
}

// runTurns gives waiting sessions their turns until ctx ends. Turns end with
// finishing, which outlives ctx.
func (s *Service) runTurns(ctx, finishing context.Context) error {
	slots := make(chan struct{}, s.cfg.MaxTurns)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		if !s.awaitMemory(ctx, func() int { return len(slots) - 1 }) { // this one is in it
			return nil
		}
		sess, seq, ok := s.awaitTurn(ctx)
		if !ok {
			return nil
		}
		s.spawn(&s.turning, func() {
			defer func() {
				<-slots
				wake(s.turnEnded)
			}()
			s.answer(finishing, sess, seq)
		})
	}
}

// awaitTurn waits for a session that may go on.
func (s *Service) awaitTurn(ctx context.Context) (*session, int64, bool) {
	for ctx.Err() == nil {
		sess, seq, later, ok := s.queue.next(s.now())
		if ok {
			if ctx.Err() != nil {
				s.queue.again(sess, time.Time{})
				return nil, 0, false
			}
			return sess, seq, true
		}
		var timer <-chan time.Time
		if !later.IsZero() {
			timer = time.After(later.Sub(s.now()))
		}
		select {
		case <-s.queue.wake:
		case <-timer:
		case <-ctx.Done():
		}
	}
	return nil, 0, false
}

// answer runs one turn. A turn that cannot be brought to a stored end goes back
// into the queue.
func (s *Service) answer(ctx context.Context, sess *session, seq int64) {
	t := &turn{seq: seq, key: sess.key, started: s.now()}
	err := services.Contain(func() error { return s.turn(ctx, t) })
	switch {
	case err == nil:
		s.queue.done(sess)
	case errors.Is(err, errSuspect):
		s.suspects.await(s.queue, sess)
	case ctx.Err() != nil:
		s.putBack(context.WithoutCancel(ctx), t, 1) // nothing crashed: the attempt does not count
		s.queue.again(sess, time.Time{})
	default:
		s.log.Error("turn broke off, it is tried again", "service", "agent", "seq", seq, "err", err)
		s.metrics.broken.Inc()
		s.metrics.brokenTurns.Add(1)
		s.putBack(ctx, t, 0)
		s.queue.again(sess, s.now().Add(s.pauses.turn))
	}
}

// putBack returns a message to the inbox and forgives some of its attempts. It
// waits for the commit, which also holds the begin's mark: the next try reads it.
func (s *Service) putBack(ctx context.Context, t *turn, forgiven int) {
	err := s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`UPDATE message SET state = 'queued', forgiven = forgiven + ? WHERE seq = ? AND state = 'running'`, forgiven, t.seq); err != nil {
			return err
		}
		return s.bookLater(tx, t.used) // the answer is lost, the bill is not
	})
	if err != nil {
		s.log.Warn("message not put back", "service", "agent", "seq", t.seq, "err", err)
	}
}

func (s *Service) turn(ctx context.Context, t *turn) error {
	stoppable, leave := s.thinking.enter(ctx, t.seq) // before the message is read: a wish to stop is seen by the one or the other
	defer leave()
	defer s.letGo(&t.holds)
	if err := s.load(ctx, t); err != nil {
		return fmt.Errorf("load message: %w", err)
	}
	ctx = bus.WithTrace(ctx, t.id)
	if t.canceled {
		return s.finishTurn(ctx, t, canceled())
	}
	if t.crashes >= maxAttempts {
		return s.finishTurn(ctx, t, dead("I could not answer this message: I crashed on it "+fmt.Sprint(maxAttempts)+" times."))
	}
	if t.crashes == maxAttempts-1 {
		if !s.suspects.enter() {
			return errSuspect
		}
		defer s.suspects.leave(s.queue)
	}
	if err := s.begin(t); err != nil {
		return fmt.Errorf("begin turn: %w", err)
	}
	if t.unread != nil {
		s.log.Error("message cannot be read", "service", "agent", "trace", t.id, "err", t.unread)
		return s.finishTurn(ctx, t, dead("I could not answer this message: what is stored of it cannot be read; the log has the details under "+t.id+"."))
	}
	limited, cancel := context.WithTimeout(bus.WithTrace(stoppable, t.id), s.cfg.TurnTimeout)
	defer cancel()
	out, err := s.think(limited, t)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err() // asked to stop: no fault of the message
		}
		if errors.Is(context.Cause(stoppable), errCanceled) {
			out = canceled()
		} else {
			out = s.failure(t, err)
		}
	}
	return s.finishTurn(ctx, t, out)
}

// dead is the end of a turn without an answer, for good unless somebody has it retried.
func dead(why string) outcome {
	return outcome{state: bus.StateDead, code: bus.CodeInternal, text: why + " It is kept as a dead letter."}
}

// load reads the message, its session and the steps of an earlier attempt. What of it is
// there and makes no sense is unread.
func (s *Service) load(ctx context.Context, t *turn) error {
	var received int64
	var files string
	err := s.store.QueryRow(ctx, `SELECT m.id, m.text, m.attachments, m.received_at, m.attempts, m.attempts - m.forgiven, m.canceled, m.purpose, m.session_id,
		s.since, s.window, coalesce((SELECT to_seq FROM summary WHERE session_id = s.id), 0) FROM message m JOIN session s ON s.id = m.session_id WHERE m.seq = ?`, t.seq).
		Scan(&t.id, &t.text, &files, &received, &t.attempt, &t.crashes, &t.canceled, &t.purpose, &t.session, &t.since, &t.window, &t.summed)
	if err != nil {
		return err
	}
	t.files, t.unread = readAttachments(files)
	t.text, t.hard = unprefixed(t.text)
	t.received = time.UnixMilli(received)
	t.attempt++
	if err := s.loadSteps(ctx, t); err != nil { // also of an attempt that a stop took back
		return err
	}
	for _, st := range t.steps {
		t.tools += len(st.Asked.Calls)
		t.provider, t.model = st.Provider, st.Model
	}
	t.calls = len(t.steps)
	return nil
}

// begin marks the message as running, without waiting. The mark rides on the next
// commit. Where the call costs money that is the reservation's: the writer keeps
// the order, so the mark is on disk before the model is asked. A free model may
// be asked a moment earlier (the store's linger).
func (s *Service) begin(t *turn) error {
	return s.store.WriteLazy(func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE message SET state = 'running', attempts = ? WHERE seq = ?`, t.attempt, t.seq)
		return err
	}, nil)
}

// failure is what the person is told when there is no answer.
func (s *Service) failure(t *turn, err error) outcome {
	var e *bus.Error
	if errors.As(err, &e) {
		s.log.Warn("turn failed", "service", "agent", "trace", t.id, "code", string(e.Code), "err", err)
		text := "I could not answer: " + strings.TrimSuffix(e.Message, ".") + "."
		if e.Hint != "" {
			text += " (" + e.Hint + ")"
		}
		return outcome{state: bus.StateFailed, code: e.Code, text: s.redact(text)}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("turn failed", "service", "agent", "trace", t.id, "err", err)
		return outcome{state: bus.StateFailed, code: bus.CodeTimeout, text: fmt.Sprintf("I could not answer within %s.", s.cfg.TurnTimeout)}
	}
	s.log.Error("turn failed", "service", "agent", "trace", t.id, "err", err)
	return outcome{state: bus.StateFailed, code: bus.CodeInternal, text: "Something went wrong on my side; the log has the details under " + t.id + "."}
}

// finishTurn commits the end of a turn: the reply, its outbox entry, what the
// model calls cost, and the events, all or nothing. It is paid for, so what the disk
// refuses is tried again for as long as that takes. What is refused for another reason
// than that it is full may be refused for ever: after a turn's time the message becomes a
// dead letter instead, if that can be stored. If not, it is the disk after all.
func (s *Service) finishTurn(ctx context.Context, t *turn, out outcome) error {
	var refused time.Time // since when for another reason
	for began := s.now(); ; {
		err := s.commitTurn(context.WithoutCancel(ctx), t, out) // a stop does not throw it away
		switch now := s.now(); {
		case err == nil, errors.Is(err, sqlite.ErrFull), errors.Is(err, sqlite.ErrBusy):
			refused = time.Time{}
		case refused.IsZero():
			refused = now
		case now.Sub(refused) >= s.cfg.TurnTimeout && out.state != bus.StateDead:
			lost := dead("I have an answer to this message that cannot be stored; the log has the details under " + t.id + ".")
			if s.commitTurn(context.WithoutCancel(ctx), t, lost) == nil {
				s.log.Error("answer cannot be stored, its message is a dead letter", "service", "agent", "trace", t.id, "err", err)
				out, err = lost, nil
			}
		}
		if err == nil {
			t.storing += s.now().Sub(began)
			s.metrics.ended(t)
			s.consider(t, out)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.log.Warn("answer not stored, trying again", "service", "agent", "trace", t.id, "err", err)
		select {
		case <-time.After(s.pauses.store):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Service) commitTurn(ctx context.Context, t *turn, out outcome) error {
	now := s.now()
	out = t.hush(out)
	return s.keepEnd(ctx, func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`UPDATE message SET state = ?, reply = ?, error = ?, aside = ?, finished_at = ? WHERE seq = ?`,
			out.state, out.text, string(out.code), out.aside, now, t.seq); err != nil {
			return err
		}
		if t.moved {
			if _, err := tx.Exec(`UPDATE session SET window = max(window, ?) WHERE id = ?`, t.window, t.session); err != nil {
				return err
			}
		}
		if len(t.steps) > 0 {
			if _, err := tx.Exec(`DELETE FROM step WHERE seq = ?`, t.seq); err != nil {
				return err
			}
		}
		if out.write != nil {
			if err := out.write(tx); err != nil {
				return err
			}
		}
		if err := s.bookLater(tx, t.used); err != nil {
			return err
		}
		if out.state != bus.StateDead { // a dead letter may be taken up again, and needs its files
			if err := release(tx, t.files); err != nil {
				return err
			}
		}
		if !out.quiet {
			if err := s.post(tx, t, now); err != nil {
				return err
			}
		}
		return s.tell(tx, t, out, now)
	})
}

// tell records the events of a turn's end.
func (s *Service) tell(tx *sqlite.Tx, t *turn, out outcome, now time.Time) error {
	if out.state == bus.StateDead {
		tx.AfterCommit(func() { s.metrics.turns.WithLabelValues(out.state).Inc(); s.metrics.turnsFailed.Add(1) })
		return eventlog.Record(s.events, tx, bus.MessageDied, bus.DeadFact{Time: now, MessageID: t.id,
			Session: t.key.name, Channel: t.key.channel, Attempts: min(t.crashes+1, maxAttempts)})
	}
	fact := bus.TurnFact{Time: now, MessageID: t.id, Session: t.key.name, Channel: t.key.channel,
		State: out.state, Error: out.code, Provider: t.provider, Model: t.model,
		Rounds: t.calls, Tools: t.tools,
		QueuedMS: t.started.Sub(t.received).Milliseconds(), DurationMS: now.Sub(t.started).Milliseconds(),
		Bytes: len(out.text), Text: s.text(out.text)}
	tx.AfterCommit(func() {
		s.metrics.turns.WithLabelValues(out.state).Inc()
		if out.state == bus.StateFailed && out.code != bus.CodeCanceled {
			s.metrics.turnsFailed.Add(1)
		}
	})
	if out.state == bus.StateFailed {
		return eventlog.Record(s.events, tx, bus.TurnFailed, fact)
	}
	return eventlog.Record(s.events, tx, bus.TurnCompleted, fact)
}
