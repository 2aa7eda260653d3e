// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	retentionEvery = time.Hour
	retentionRows  = 1000 // deleted in one transaction, so that the writer is never held long
)

// runRetention deletes what is kept long enough: answered messages that are
// delivered, remembered source ids, and sessions that have become empty. It gives back the space of that
// which is not used again, and stores what was learned of tokens.
func (s *Service) runRetention(ctx context.Context) error {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		if err := s.expire(ctx, s.now()); err != nil && ctx.Err() == nil {
			s.log.Warn("delete old messages", "service", "agent", "err", err)
		}
		if err := s.store.Vacuum(ctx); err != nil && ctx.Err() == nil { // here the most is deleted; it gives back what others did, too
			s.log.Warn("give free space back", "service", "agent", "err", err)
		}
		if err := s.keepRatios(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("keep token ratios", "service", "agent", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// oldMessages are the seqs to delete at once, in the order of the index: in any other, all
// that are old would be read and sorted for each thousand.
const oldMessages = `SELECT seq FROM message WHERE finished_at < ?
	AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.seq = message.seq) ORDER BY finished_at, seq LIMIT ?`

// oldReplies are the dead replies to delete at once.
const oldReplies = `SELECT id FROM outbox WHERE state = 'dead' AND created_at < ? LIMIT ?`

// oldAttachments are the files of those of them that are dead.
const oldAttachments = `SELECT attachments FROM message WHERE seq IN (` + oldMessages + `) AND state = 'dead' AND attachments <> ''`

// releaseDead lets the files of old dead letters go; others' went with their turn.
func releaseDead(tx *sqlite.Tx, before time.Time) error {
	rows, err := tx.Query(oldAttachments, before, retentionRows)
	if err != nil {
		return err
	}
	defer rows.Close()
	var files []bus.Attachment
	for rows.Next() {
		var stored string
		if err := rows.Scan(&stored); err != nil {
			return err
		}
		some, err := readAttachments(stored)
		if err != nil {
			return err
		}
		files = append(files, some...)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return release(tx, files)
}

// expiry is one kind of thing that is deleted when it is old.
type expiry struct {
	sql    string
	before time.Time
	first  func(tx *sqlite.Tx, before time.Time) error // in the same transaction
	dead   string                                      // counts the dead letters that go
}

func (s *Service) expiries(now time.Time) []expiry {
	old := now.Add(-s.cfg.KeepHistory)
	return []expiry{
		{`DELETE FROM accepted WHERE (channel, owner, external_id) IN
			(SELECT channel, owner, external_id FROM accepted WHERE at < ? LIMIT ?)`, now.Add(-min(s.cfg.KeepAccepted, s.cfg.KeepHistory)), nil, ""},
		{`DELETE FROM outbox WHERE id IN (` + oldReplies + `)`, old, nil, `SELECT count(*) FROM (` + oldReplies + `)`},
		// With the first message that it stands for a summary goes too, or what was said would outlive its time for ever.
		{`DELETE FROM summary WHERE session_id IN (SELECT session_id FROM summary WHERE from_at < ? ORDER BY from_at LIMIT ?)`, old, nil, ""},
		{`DELETE FROM message WHERE seq IN (` + oldMessages + `)`, old, releaseDead, `SELECT count(*) FROM message WHERE state = 'dead' AND seq IN (` + oldMessages + `)`},
		{`DELETE FROM session WHERE id IN (SELECT id FROM session WHERE last_at < ?
			AND NOT EXISTS (SELECT 1 FROM message m WHERE m.session_id = session.id) LIMIT ?)`, old, nil, ""},
	}
}

// expire deletes all that is old at the time now.
func (s *Service) expire(ctx context.Context, now time.Time) error {
	for _, e := range s.expiries(now) {
		for more := true; more; {
			deleted, err := s.expireSome(ctx, e)
			if err != nil {
				return err
			}
			more = deleted == retentionRows
		}
	}
	return nil
}

// expireSome deletes as many as one transaction may.
func (s *Service) expireSome(ctx context.Context, e expiry) (deleted int64, err error) {
	var letters int64
	err = s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if e.first != nil {
			if err := e.first(tx, e.before); err != nil {
				return err
			}
		}
		if e.dead != "" {
			if err := tx.QueryRow(e.dead, e.before, retentionRows).Scan(&letters); err != nil {
				return err
			}
		}
		res, err := tx.Exec(e.sql, e.before, retentionRows)
		if err != nil {
			return err
		}
		deleted, err = res.RowsAffected()
		if deleted > 0 {
			tx.AfterCommit(func() { s.summaries.shed() }) // none that was deleted stays in memory
		}
		return err
	})
	if err == nil && letters > 0 {
		s.log.Warn("dead letters were deleted: they are older than agent.keep_history", "service", "agent", "letters", letters)
	}
	return deleted, err
}
