// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// sweepEvery is how soon a stream notices that its token has expired, or that the
// device key was changed.
const sweepEvery = time.Second

// keepTokens sweeps the tokens and notes their use until ctx ends. Whatever it writes
// is lazy: it rides on others' commits.
func (s *Service) keepTokens(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.noteTokens(false)
		case <-ctx.Done():
			s.noteTokens(true)
			return
		}
	}
}

func (s *Service) noteTokens(last bool) {
	s.storeRevocations()
	forgotten, uses := s.passes.sweep(), s.passes.uses(last)
	if len(forgotten) == 0 && len(uses) == 0 {
		return
	}
	done := func(err error) {
		if err != nil { // rows to delete are found again at the next start
			s.log.Warn("use of tokens not noted", "err", err)
		}
	}
	err := s.store.WriteLazy(func(tx *sqlite.Tx) error {
		for _, id := range forgotten {
			if _, err := tx.Exec(`DELETE FROM gateway_tokens WHERE id = ?`, id); err != nil {
				return err
			}
		}
		for id, at := range uses {
			if _, err := tx.Exec(`UPDATE gateway_tokens SET used_at = ? WHERE id = ?`, at, id); err != nil {
				return err
			}
		}
		return nil
	}, done)
	if err != nil {
		done(err)
	}
}

// storeRevocations tries again what failed when it was asked for.
func (s *Service) storeRevocations() {
	for _, p := range s.passes.unstored() {
		at, _ := s.passes.revoke(p)
		err := s.store.WriteLazy(func(tx *sqlite.Tx) error { return s.strike(tx, p, at) }, func(err error) {
			if err == nil {
				s.passes.stored(p)
			}
		})
		if err != nil {
			return // later
		}
	}
}

// readTokens makes known what the database has. What is known already stays as it is.
func (s *Service) readTokens(ctx context.Context) error {
	rows, err := s.store.Query(ctx, `SELECT id, name, subject, scopes, rate, signer, issued_at, expires_at, revoked_at, used_at FROM gateway_tokens`)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		p, err := scanPass(rows)
		if err != nil {
			return fmt.Errorf("read tokens: %w", err)
		}
		s.passes.restore(p)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	s.noteTokens(false)
	return nil
}

func scanPass(rows *sql.Rows) (*pass, error) {
	var p pass
	var scopes string
	var signer []byte
	var issued, expires int64
	var revoked, used sql.NullInt64
	if err := rows.Scan(&p.id, &p.name, &p.subject, &scopes, &p.rate, &signer, &issued, &expires, &revoked, &used); err != nil {
		return nil, err
	}
	p.scopes, p.signer = strings.Fields(scopes), signer
	p.issued, p.expires = time.UnixMilli(issued), time.UnixMilli(expires)
	if revoked.Valid {
		p.revoked = time.UnixMilli(revoked.Int64)
	}
	if used.Valid {
		p.used = time.UnixMilli(used.Int64)
		p.noted = p.used
	}
	return &p, nil
}
