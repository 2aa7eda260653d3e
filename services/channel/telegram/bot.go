// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// tokenMayHaveChanged has the loop that polls look at the token.
func (s *Service) tokenMayHaveChanged() {
	select {
	case s.tokens <- struct{}{}:
	default: // it is about to look
	}
}

// poll serves one bot after another, each as long as there is its token.
func (s *Service) poll(ctx context.Context) error {
	for ctx.Err() == nil {
		token, err := s.api.openToken()
		s.evidence.begin()
		s.mu.Lock()
		s.me = user{}
		s.mu.Unlock()
		if err != nil {
			if !errors.Is(err, errNoToken) {
				s.evidence.failed(err)
				s.log.Error("Telegram is not polled", "err", err)
			}
			s.untilAnother(ctx, "", err)
			continue
		}
		if err := s.serveBot(ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// serveBot polls until there is another token. It asks with this one to the end: what
// comes for another bot is neither taken nor confirmed as if it were for this.
func (s *Service) serveBot(ctx context.Context, token string) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s.polled = s.api.as(token)
	return services.Work(ctx, s.pollAs, func(ctx context.Context) error {
		defer stop()
		s.untilAnother(ctx, token, nil)
		if ctx.Err() == nil {
			s.log.Info("telegram.bot_token has changed; polling begins anew")
		}
		return nil
	})
}

// untilAnother waits until the token is another than the given one, or missing for
// another reason, or ctx ends. It is told of changes, and looks now and then in case it
// was not.
func (s *Service) untilAnother(ctx context.Context, token string, missing error) {
	tick := time.NewTicker(10 * s.pauses.tick)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-s.tokens:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if now, err := s.api.openToken(); now != token || fmt.Sprint(err) != fmt.Sprint(missing) {
			return
		}
	}
}

// meet notes which bot it is. What was sent of an answer that is still being made was
// sent by the one before: it cannot be edited any more, and its ids may mean other
// messages now.
func (s *Service) meet(ctx context.Context, me user) error {
	var first, current int64
	err := s.store.QueryRow(ctx, `SELECT first, current FROM telegram_bot`).Scan(&first, &current)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read which bot it was: %w", err)
	}
	if first == 0 {
		first = me.ID
	}
	if current != me.ID {
		if err := s.replace(ctx, first, current, me); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.me, s.first = me, first
	return nil
}

func (s *Service) replace(ctx context.Context, first, before int64, me user) error {
	if before != 0 {
		if err := s.endDrafts(ctx); err != nil {
			return err
		}
	}
	err := s.store.Write(ctx, func(tx *sqlite.Tx) error {
		if before != 0 {
			if _, err := tx.Exec(`DELETE FROM telegram_sent WHERE NOT final`); err != nil {
				return err
			}
		}
		_, err := tx.Exec(`INSERT OR REPLACE INTO telegram_bot (id, first, current) VALUES (1, ?, ?)`, first, me.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("note which bot it is: %w", err)
	}
	return nil
}

// endDrafts stops showing answers, and forgets what of them is not noted.
func (s *Service) endDrafts(ctx context.Context) error {
	s.mu.Lock()
	var drafts []*draft
	for _, d := range s.drafts {
		drafts = append(drafts, d)
	}
	s.mu.Unlock()
	for _, d := range drafts {
		d.stop()
		select {
		case <-d.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.unnoted {
		if !p.final {
			delete(s.unnoted, k)
		}
	}
	return nil
}

// ofBot makes a message's id one of this bot's: another bot counts the messages of the
// same chat anew, and the agent would take them for those of the first.
func (s *Service) ofBot(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.me.ID == s.first {
		return id
	}
	return strconv.FormatInt(s.me.ID, 10) + "/" + id
}
