// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/nats-io/nuid"
)

// Bounds of what a channel may hand over.
const (
	maxExternalID  = 200 // bytes
	maxOwner       = 128 // bytes
	maxSessionName = 128 // bytes
	defaultSession = "main"
)

// receive stores a message and queues it. Its answer is a promise: the message
// is on disk and will be answered.
func (s *Service) receive(ctx context.Context, m bus.Message) (bus.Accepted, error) {
	if m.Session == "" {
		m.Session = defaultSession
	}
	if err := s.check(ctx, m); err != nil {
		return bus.Accepted{}, err
	}
	if n := s.undelivered(); n >= s.cfg.MaxOutbox {
		s.metrics.refused.Inc()
		return bus.Accepted{}, busy(fmt.Sprintf("%d replies wait to be delivered", n), "agent.max_outbox")
	}
	key := sessionKey{m.Channel, m.Owner, m.Session}
	if err := s.checkMemory(ctx, key); err != nil {
		return bus.Accepted{}, err
	}
	over := 0
	if commandOf(m.Text) == "stop" {
		over = stopPlaces
	}
	if err := s.queue.admit(key, over); err != nil {
		s.metrics.refused.Inc()
		return bus.Accepted{}, err
	}
	acc, err := s.accept(ctx, m, key)
	if err != nil || acc.Duplicate {
		s.queue.withdraw(key)
		return acc, storeError(err)
	}
	s.metrics.messages.WithLabelValues(s.label(m.Channel), "in").Inc()
	failpoint.Hit("accept.answer")
	return acc, nil
}

// storeError tells a caller to come back when the disk is full or the writer
// overrun: the message was not accepted, and nothing of it is kept.
func storeError(err error) error {
	switch {
	case errors.Is(err, sqlite.ErrBusy):
		return busy("the database has too many writes waiting", "the disk's speed")
	case errors.Is(err, sqlite.ErrFull):
		return &bus.Error{Code: bus.CodeUnavailable, Message: "the message was not stored: the disk is full", Hint: "free some space; nothing else needs to be done", RetryAfter: 10 * time.Second}
	}
	return err
}

func (s *Service) check(ctx context.Context, m bus.Message) error {
	if err := s.checkChannel(ctx, m.Channel); err != nil {
		return err
	}
	switch {
	case m.Owner == "" || len(m.Owner) > maxOwner || !printable(m.Owner):
		return bus.Errorf(bus.CodeInvalid, "owner must be 1 to %d bytes of printable text", maxOwner)
	case len(m.Session) > maxSessionName || !printable(m.Session):
		return bus.Errorf(bus.CodeInvalid, "session must be at most %d bytes of printable text", maxSessionName)
	case len(m.ExternalID) > maxExternalID || !printable(m.ExternalID):
		return bus.Errorf(bus.CodeInvalid, "the message's own id must be at most %d bytes of printable text", maxExternalID)
	case !utf8.ValidString(m.Text):
		return bus.Errorf(bus.CodeInvalid, "the text is not valid UTF-8")
	case strings.TrimSpace(m.Text) == "" && len(m.Attachments) == 0:
		return bus.Errorf(bus.CodeInvalid, "the text is empty")
	case len(m.Text) > s.manner.Load().textBytes:
		return bus.Errorf(bus.CodeTooLarge, "the text has %d bytes; at most %d are taken", len(m.Text), s.manner.Load().textBytes).
			WithHint("send it in parts, or raise agent.max_text_bytes")
	}
	return s.checkAttachments(m.Attachments)
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// accept writes the message in one transaction, or finds that it has been
// accepted before.
func (s *Service) accept(ctx context.Context, m bus.Message, key sessionKey) (bus.Accepted, error) {
	now := s.now()
	sum := sha256.Sum256([]byte(m.Session + "\x00" + m.Text))
	acc := bus.Accepted{ID: nuid.Next(), Session: m.Session}
	failpoint.Hit("accept.begin")
	err := s.promise(ctx, func(tx *sqlite.Tx) error {
		if m.ExternalID != "" {
			first, err := acceptedBefore(tx, m, sum[:])
			if err != nil || first != "" {
				acc.ID, acc.Duplicate = first, true
				return err
			}
		}
		seq, err := insertMessage(tx, m, acc.ID, now)
		if err != nil {
			return err
		}
		if m.ExternalID != "" {
			if _, err := tx.Exec(`INSERT INTO accepted (channel, owner, external_id, seq, digest, at) VALUES (?, ?, ?, ?, ?, ?)`,
				m.Channel, m.Owner, m.ExternalID, seq, sum[:], now); err != nil {
				return err
			}
		}
		if commandOf(m.Text) == "stop" {
			if err := s.cancelIn(tx, `session_id = (SELECT session_id FROM message WHERE seq = ?1) AND seq < ?1`, seq); err != nil {
				return err
			}
		}
		if err := attach(tx, seq, m.Attachments); err != nil {
			return err
		}
		tx.AfterCommit(func() {
			failpoint.Hit("accept.committed")
			s.queue.add(key, seq, now)
		})
		return eventlog.Record(s.events, tx, bus.MessageReceived, bus.MessageReceivedFact{
			Time: now, MessageID: acc.ID, Session: m.Session, Channel: m.Channel, Bytes: len(m.Text), Text: s.text(m.Text)})
	})
	return acc, err
}

// text is what an event may carry of a message.
func (s *Service) text(t string) string {
	if s.manner.Load().texts {
		return t
	}
	return ""
}

// acceptedBefore returns the id of the message that came with the same id of
// the source, "" if there was none. It refuses the id for another message.
func acceptedBefore(tx *sqlite.Tx, m bus.Message, digest []byte) (string, error) {
	var id string
	var had []byte
	err := tx.QueryRow(`SELECT coalesce(m.id, a.message_id), a.digest FROM accepted a LEFT JOIN message m ON m.seq = a.seq
		WHERE a.channel = ? AND a.owner = ? AND a.external_id = ?`, m.Channel, m.Owner, m.ExternalID).Scan(&id, &had)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", nil
	case err != nil:
		return "", err
	case !bytes.Equal(had, digest):
		return "", bus.Errorf(bus.CodeConflict, "the id %q was used for another message before", m.ExternalID).
			WithHint("use a new id for each message")
	}
	return id, nil
}

func insertMessage(tx *sqlite.Tx, m bus.Message, id string, now time.Time) (seq int64, err error) {
	var session int64
	err = tx.QueryRow(`INSERT INTO session (channel, owner, name, created_at, last_at, messages) VALUES (?1, ?2, ?3, ?4, ?4, 1)
		ON CONFLICT (channel, owner, name) DO UPDATE SET last_at = ?4, messages = messages + 1 RETURNING id`,
		m.Channel, m.Owner, m.Session, now).Scan(&session)
	if err != nil {
		return 0, err
	}
	err = tx.QueryRow(`INSERT INTO message (id, session_id, text, state, received_at, purpose) VALUES (?, ?, ?, ?, ?, ?) RETURNING seq`,
		id, session, m.Text, bus.StateQueued, now, purposeIn(m.Channel)).Scan(&seq)
	return seq, err
}

// What recoverInbox runs. SQLite uses the index of unanswered messages only where the
// index's own condition stands, too; without, it would read a year's messages.
const (
	selectRunning = `SELECT m.id, s.name, s.channel, m.attempts FROM message m JOIN session s ON s.id = m.session_id
		WHERE m.state IN ('queued', 'running') AND m.state = 'running'`
	requeueRunning = `UPDATE message SET state = 'queued' WHERE state IN ('queued', 'running') AND state = 'running'`
	selectQueued   = `SELECT m.seq, m.received_at, s.channel, s.owner, s.name FROM message m JOIN session s ON s.id = m.session_id
		WHERE m.state IN ('queued', 'running') AND m.state = 'queued' ORDER BY m.seq`
)

// recoverInbox queues what earlier runs left: turns that were cut off are
// counted and begin again.
func (s *Service) recoverInbox(ctx context.Context) error {
	s.queue.reset()
	s.suspects.reset()
	err := s.store.Write(ctx, func(tx *sqlite.Tx) error {
		cut, err := interrupted(tx)
		if err != nil {
			return err
		}
		for _, f := range cut {
			f.Time = s.now()
			if err := eventlog.Record(s.events, tx, bus.TurnInterrupted, f); err != nil {
				return err
			}
		}
		if len(cut) == 0 {
			return nil
		}
		if _, err := tx.Exec(requeueRunning); err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE agent_state SET interrupted = interrupted + ?`, len(cut))
		return err
	})
	if err != nil {
		return err
	}
	failpoint.Hit("recover.requeued")
	rows, err := s.store.Query(ctx, selectQueued)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq, received int64
		var k sessionKey
		if err := rows.Scan(&seq, &received, &k.channel, &k.owner, &k.name); err != nil {
			return err
		}
		s.queue.restore(k, seq, time.UnixMilli(received))
	}
	return rows.Err()
}

func interrupted(tx *sqlite.Tx) ([]bus.TurnInterruptedFact, error) {
	rows, err := tx.Query(selectRunning)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var cut []bus.TurnInterruptedFact
	for rows.Next() {
		var f bus.TurnInterruptedFact
		if err := rows.Scan(&f.MessageID, &f.Session, &f.Channel, &f.Attempt); err != nil {
			return nil, err
		}
		cut = append(cut, f)
	}
	return cut, rows.Err()
}
