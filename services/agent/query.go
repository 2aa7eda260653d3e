// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	defaultPage  = 100
	maxPage      = 500
	maxPageBytes = 768 << 10 // of texts as JSON in one answer: the bus carries 1 MiB
)

func pageSize(limit int) int {
	if limit <= 0 {
		return defaultPage
	}
	return min(limit, maxPage)
}

const selectMessage = `SELECT m.seq, m.id, s.name, s.channel, m.state, m.text, m.attachments, m.reply, m.error, m.received_at, m.finished_at
	FROM message m JOIN session s ON s.id = m.session_id `

func scanMessage(row interface{ Scan(...any) error }) (bus.MessageRecord, error) {
	var m bus.MessageRecord
	var received int64
	var finished sql.NullInt64
	var files string
	err := row.Scan(&m.Seq, &m.ID, &m.Session, &m.Channel, &m.State, &m.Text, &files, &m.Reply, &m.Error, &received, &finished)
	m.ReceivedAt = time.UnixMilli(received).UTC()
	if finished.Valid {
		t := time.UnixMilli(finished.Int64).UTC()
		m.FinishedAt = &t
	}
	if err == nil {
		m.Attachments, err = readAttachments(files)
	}
	return m, err
}

// get answers what became of a message. Another owner's is not found.
func (s *Service) get(ctx context.Context, q bus.MessageQuery) (bus.MessageRecord, error) {
	m, err := scanMessage(s.store.QueryRow(ctx, selectMessage+`WHERE m.id = ? AND (? = '' OR s.owner = ?)`, q.ID, q.Owner, q.Owner))
	if errors.Is(err, sql.ErrNoRows) {
		return m, bus.Errorf(bus.CodeNotFound, "there is no message %q", q.ID)
	}
	return m, err
}

func (s *Service) sessions(ctx context.Context, q bus.SessionQuery) (bus.Sessions, error) {
	out := bus.Sessions{Sessions: []bus.Session{}}
	rows, err := s.store.Query(ctx, `SELECT name, messages, created_at, last_at FROM session WHERE channel = ? AND owner = ?
		ORDER BY last_at DESC, id DESC LIMIT ?`, q.Channel, q.Owner, pageSize(q.Limit))
	if err != nil {
		return out, err
	}
	defer rows.Close()
	for rows.Next() {
		var e bus.Session
		var created, last int64
		if err := rows.Scan(&e.Name, &e.Messages, &created, &last); err != nil {
			return out, err
		}
		e.CreatedAt, e.LastAt = time.UnixMilli(created).UTC(), time.UnixMilli(last).UTC()
		e.State = s.queue.state(sessionKey{q.Channel, q.Owner, e.Name})
		out.Sessions = append(out.Sessions, e)
	}
	return out, rows.Err()
}

func (s *Service) history(ctx context.Context, q bus.HistoryQuery) (bus.History, error) {
	out := bus.History{Messages: []bus.MessageRecord{}}
	var session int64
	err := s.store.QueryRow(ctx, `SELECT id FROM session WHERE channel = ? AND owner = ? AND name = ?`, q.Channel, q.Owner, q.Session).Scan(&session)
	if errors.Is(err, sql.ErrNoRows) {
		return out, bus.Errorf(bus.CodeNotFound, "there is no session %q", q.Session)
	}
	if err != nil {
		return out, err
	}
	limit := pageSize(q.Limit)
	rows, err := s.store.Query(ctx, selectMessage+`WHERE m.session_id = ? AND m.seq > ? ORDER BY m.seq LIMIT ?`, session, q.After, limit+1)
	if err != nil {
		return out, err
	}
	defer rows.Close()
	bytes := 0
	for rows.Next() {
		m, err := scanMessage(rows)
		if err != nil {
			return out, err
		}
		bytes += jsonSize(m.Text) + jsonSize(m.Reply) + 512*(1+len(m.Attachments))
		if len(out.Messages) == limit || len(out.Messages) > 0 && bytes > maxPageBytes {
			out.More = true
			break
		}
		out.Messages = append(out.Messages, m)
	}
	return out, rows.Err()
}

// deadSince is when the oldest dead letter has died, 0 when there is none: of each kind
// the one that came first, which the index gives without a walk through all.
const deadSince = `(SELECT coalesce(min(at), 0) FROM (
	SELECT * FROM (SELECT finished_at AS at FROM message WHERE state = 'dead' ORDER BY seq LIMIT 1) UNION ALL
	SELECT * FROM (SELECT created_at FROM outbox WHERE state = 'dead' ORDER BY id LIMIT 1)))`

// standing is what the database says of the agent. It is asked each second, so it reads no
// more the more is kept: sessions and summaries are counted by what changes them, and of
// messages and replies there is an index of the dead ones.
const standing = `SELECT sessions, interrupted, summaries, (SELECT count(*) FROM message WHERE state = 'dead'),
	(SELECT count(*) FROM outbox WHERE state = 'dead'), ` + deadSince + ` FROM agent_state`

// summary answers how the agent stands.
func (s *Service) summary(ctx context.Context, _ bus.AgentQuery) (bus.AgentSummary, error) {
	depth, active, _ := s.queue.counts()
	first := s.models.List[0]
	out := bus.AgentSummary{Provider: first.Provider.Name(), Model: first.Name}
	out.Sessions.Active = active
	out.Queues.Inbox, out.Queues.Outbox = int64(depth), int64(s.undelivered())
	var messages, replies, since int64
	err := s.store.QueryRow(ctx, standing).Scan(&out.Sessions.Total, &out.Sessions.Interrupted, &out.Context.Summaries, &messages, &replies, &since)
	if err != nil {
		return out, fmt.Errorf("count sessions: %w", err)
	}
	out.Queues.Dead = messages + replies
	m := s.metrics
	m.sessions.Store(out.Sessions.Total)
	out.Context.Made, out.Context.KeptWhole, out.Context.Failed, out.Context.RecallFailed = m.summed.Load(), m.keptWhole.Load(), m.unsummed.Load(), m.unrecalled.Load()
	var oldest time.Time
	if since > 0 {
		oldest = time.UnixMilli(since)
	}
	s.metrics.deadLetters(messages, replies, oldest)
	return out, nil
}
