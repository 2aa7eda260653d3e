// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	retentionEvery = time.Hour
	retentionRows  = 1000 // deleted in one transaction, so that the writer is never held long
)

// runRetention deletes what is kept long enough: answered messages that are
// delivered, remembered source ids, and sessions that have become empty.
func (s *Service) runRetention(ctx context.Context) error {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		if err := s.expire(ctx, s.now()); err != nil && ctx.Err() == nil {
			s.log.Warn("delete old messages", "service", "agent", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// expire deletes all that is old at the time now.
func (s *Service) expire(ctx context.Context, now time.Time) error {
	for _, e := range []struct {
		sql    string
		before time.Time
	}{
		{`DELETE FROM accepted WHERE (channel, owner, external_id) IN
			(SELECT channel, owner, external_id FROM accepted WHERE at < ? LIMIT ?)`, now.Add(-min(s.cfg.KeepAccepted, s.cfg.KeepHistory))},
		{`DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state = 'dead' AND created_at < ? LIMIT ?)`, now.Add(-s.cfg.KeepHistory)},
		{`DELETE FROM message WHERE seq IN (SELECT seq FROM message WHERE finished_at < ?
			AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.seq = message.seq) LIMIT ?)`, now.Add(-s.cfg.KeepHistory)},
		{`DELETE FROM session WHERE id IN (SELECT id FROM session WHERE last_at < ?
			AND NOT EXISTS (SELECT 1 FROM message m WHERE m.session_id = session.id) LIMIT ?)`, now.Add(-s.cfg.KeepHistory)},
	} {
		for more := true; more; {
			var deleted int64
			err := s.store.Write(ctx, func(tx *sqlite.Tx) error {
				res, err := tx.Exec(e.sql, e.before, retentionRows)
				if err != nil {
					return err
				}
				deleted, err = res.RowsAffected()
				return err
			})
			if err != nil {
				return err
			}
			more = deleted == retentionRows
		}
	}
	return nil
}
