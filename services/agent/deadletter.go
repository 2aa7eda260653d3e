// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const maxAction = 100 // letters in one call

// retry takes dead letters up again. A message goes back into the inbox as if it
// had just come; that its person was told of the failure stays told. A reply goes
// back to its channel, for as long as a new one.
func (s *Service) retry(ctx context.Context, a bus.QueueAction) (bus.QueueOutcome, error) {
	return s.eachLetter(ctx, a, s.retryMessage, s.retryReplies)
}

// drop deletes dead letters: a message with all that is kept of it, a reply
// without its message.
func (s *Service) drop(ctx context.Context, a bus.QueueAction) (bus.QueueOutcome, error) {
	return s.eachLetter(ctx, a, s.dropMessage, s.dropReplies)
}

// deadLetter is a message that is dead, or one with a reply that is.
type deadLetter struct {
	seq, session int64
	id, state    string
	key          sessionKey
	attempts     int
	files        []bus.Attachment
	unread       error // which files it has cannot be read
	dead         int   // replies
	replies      int   // that were retried or dropped
}

// eachLetter does one thing to every letter, whatever becomes of the others.
func (s *Service) eachLetter(ctx context.Context, a bus.QueueAction, message, replies func(context.Context, *deadLetter) error) (bus.QueueOutcome, error) {
	var out bus.QueueOutcome
	if len(a.IDs) == 0 || len(a.IDs) > maxAction {
		return out, bus.Errorf(bus.CodeInvalid, "it takes 1 to %d ids at once", maxAction)
	}
	for _, id := range a.IDs {
		l, err := s.deadLetter(ctx, id)
		switch {
		case err == nil && l.state == bus.StateDead:
			if err = message(ctx, &l); err == nil {
				out.Messages++
			}
		case err == nil:
			err = replies(ctx, &l)
		}
		err = storeError(err)
		var e *bus.Error
		switch {
		case err == nil:
			out.Replies += l.replies
		case errors.As(err, &e):
			out.Refused = append(out.Refused, bus.QueueRefusal{ID: id, Code: e.Code, Message: e.Message})
		default:
			return out, err
		}
	}
	return out, nil
}

// deadLetter reads what an id stands for, and refuses what is not dead.
func (s *Service) deadLetter(ctx context.Context, id string) (deadLetter, error) {
	l := deadLetter{id: id}
	var files string
	err := s.store.QueryRow(ctx, `SELECT m.seq, m.session_id, m.state, m.attempts, m.attachments, s.channel, s.owner, s.name,
		(SELECT count(*) FROM outbox o WHERE o.seq = m.seq AND o.state = 'dead')
		FROM message m JOIN session s ON s.id = m.session_id WHERE m.id = ?`, id).
		Scan(&l.seq, &l.session, &l.state, &l.attempts, &files, &l.key.channel, &l.key.owner, &l.key.name, &l.dead)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return l, bus.Errorf(bus.CodeNotFound, "there is no message %.80q", id)
	case err != nil:
		return l, fmt.Errorf("read letter: %w", err)
	case l.state != bus.StateDead && l.dead == 0:
		return l, bus.Errorf(bus.CodeConflict, "it is %s, and its reply is not dead either", l.state)
	}
	if l.state == bus.StateDead { // others' files went with their turn
		l.files, l.unread = readAttachments(files)
	}
	return l, nil
}

// retryMessage puts a message back into the inbox, within the inbox's bounds.
func (s *Service) retryMessage(ctx context.Context, l *deadLetter) error {
	if l.unread != nil {
		return bus.Errorf(bus.CodeInvalid, "which files it has cannot be read, so it cannot be answered; it can be dropped")
	}
	if err := s.checkChannel(ctx, l.key.channel); err != nil {
		return noChannel(l.key.channel)
	}
	if err := s.queue.admit(l.key, 0); err != nil {
		return err
	}
	err := s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := s.freeMessage(tx, l); err != nil {
			return err
		}
		if err := changed(tx.Exec(`UPDATE message SET state = 'queued', canceled = 0, forgiven = attempts, retries = retries + 1, reply = '', error = '', finished_at = NULL
			WHERE seq = ? AND state = 'dead'`, l.seq)); err != nil {
			return err
		}
		tx.AfterCommit(func() { s.queue.add(l.key, l.seq, s.now()) })
		return s.tellMessage(tx, bus.MessageRetried, l)
	})
	if err != nil {
		s.queue.withdraw(l.key)
	}
	return err
}

// dropMessage deletes a message. Its source's id is forgotten with it.
func (s *Service) dropMessage(ctx context.Context, l *deadLetter) error {
	return s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := s.freeMessage(tx, l); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM accepted WHERE seq = ?`, l.seq); err != nil {
			return err
		}
		if err := release(tx, l.files); err != nil {
			return err
		}
		if err := changed(tx.Exec(`DELETE FROM message WHERE seq = ? AND state = 'dead'`, l.seq)); err != nil {
			return err
		}
		return s.tellMessage(tx, bus.MessageDropped, l)
	})
}

// freeMessage deletes the dead replies of a message that is to be answered anew or
// deleted. One that is on its way is read from the message: then nothing is done.
func (s *Service) freeMessage(tx *sqlite.Tx, l *deadLetter) error {
	var pending int
	if err := tx.QueryRow(`SELECT count(*) FROM outbox WHERE seq = ? AND state = 'pending'`, l.seq).Scan(&pending); err != nil {
		return err
	}
	if pending > 0 {
		return bus.Errorf(bus.CodeConflict, "the reply that tells of its failure is still on its way; try again when that has arrived or is dead too")
	}
	return s.deleteReplies(tx, l)
}

// retryReplies gives the dead replies of a message back to their channel.
func (s *Service) retryReplies(ctx context.Context, l *deadLetter) error {
	if err := s.checkChannel(ctx, l.key.channel); err != nil {
		return noChannel(l.key.channel)
	}
	o := s.outboxOf(l.key.channel)
	if n := s.undelivered(); n >= s.cfg.MaxOutbox {
		return busy(fmt.Sprintf("%d replies wait to be delivered", n), "agent.max_outbox")
	}
	return s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := s.tellReplies(tx, bus.ReplyRetried, l); err != nil {
			return err
		}
		if err := changed(tx.Exec(`UPDATE outbox SET state = 'pending', attempts = 0, error = '', created_at = ?
			WHERE seq = ? AND state = 'dead'`, s.now(), l.seq)); err != nil {
			return err
		}
		tx.AfterCommit(func() { o.add(l.session, slices.Repeat([]time.Time{s.now()}, l.replies)...) })
		return nil
	})
}

func (s *Service) dropReplies(ctx context.Context, l *deadLetter) error {
	return s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if err := s.deleteReplies(tx, l); err != nil || l.replies > 0 {
			return err
		}
		return changedMeanwhile()
	})
}

func (s *Service) deleteReplies(tx *sqlite.Tx, l *deadLetter) error {
	if err := s.tellReplies(tx, bus.ReplyDropped, l); err != nil {
		return err
	}
	_, err := tx.Exec(`DELETE FROM outbox WHERE seq = ? AND state = 'dead'`, l.seq)
	return err
}

// tellReplies counts a message's dead replies and records their event.
func (s *Service) tellReplies(tx *sqlite.Tx, lane bus.Event[bus.ReplyFact], l *deadLetter) error {
	facts, err := s.deadReplies(tx, l)
	if err != nil {
		return err
	}
	for _, f := range facts {
		if err := eventlog.Record(s.events, tx, lane, f); err != nil {
			return err
		}
	}
	l.replies = len(facts)
	return nil
}

func (s *Service) deadReplies(tx *sqlite.Tx, l *deadLetter) ([]bus.ReplyFact, error) {
	rows, err := tx.Query(`SELECT attempts, error FROM outbox WHERE seq = ? AND state = 'dead' ORDER BY id`, l.seq)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []bus.ReplyFact
	for rows.Next() {
		f := bus.ReplyFact{Time: s.now(), MessageID: l.id, Channel: l.key.channel}
		if err := rows.Scan(&f.Attempts, &f.Error); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, rows.Err()
}

func (s *Service) tellMessage(tx *sqlite.Tx, lane bus.Event[bus.DeadFact], l *deadLetter) error {
	return eventlog.Record(s.events, tx, lane, bus.DeadFact{Time: s.now(), MessageID: l.id,
		Session: l.key.name, Channel: l.key.channel, Attempts: l.attempts})
}

// changed is nil when a statement found what it was to change.
func changed(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return changedMeanwhile()
}

func changedMeanwhile() error {
	return bus.Errorf(bus.CodeConflict, "it is not dead any more: someone else was at it")
}

func noChannel(name string) error {
	return bus.Errorf(bus.CodeUnavailable, "there is no channel %q any more", name)
}
