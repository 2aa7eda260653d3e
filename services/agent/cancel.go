// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"errors"
	"sync"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// errCanceled is why a turn ends that its person no longer wants.
var errCanceled = errors.New("canceled")

// thinking are the turns that can be stopped, by the seq of their message.
type thinking struct {
	mu    sync.Mutex
	turns map[int64]context.CancelCauseFunc
}

func newThinking() *thinking { return &thinking{turns: map[int64]context.CancelCauseFunc{}} }

// enter returns a context that stop ends. Who enters leaves.
func (th *thinking) enter(ctx context.Context, seq int64) (_ context.Context, leave func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	th.mu.Lock()
	th.turns[seq] = cancel
	th.mu.Unlock()
	return ctx, func() {
		th.mu.Lock()
		delete(th.turns, seq)
		th.mu.Unlock()
		cancel(nil)
	}
}

// stop ends a message's turn, if one is under way.
func (th *thinking) stop(seq int64) {
	th.mu.Lock()
	cancel := th.turns[seq]
	th.mu.Unlock()
	if cancel != nil {
		cancel(errCanceled)
	}
}

// cancel answers msg.cancel. The wish is stored with the message before the turn is
// stopped, so that a turn which a crash cuts off does not begin again.
func (s *Service) cancel(ctx context.Context, q bus.MessageQuery) (bus.MessageRecord, error) {
	m, err := s.get(ctx, q)
	if err != nil {
		return m, err
	}
	err = s.store.Write(ctx, func(tx *sqlite.Tx) error { return s.cancelIn(tx, `seq = ?`, m.Seq) })
	if err != nil {
		return m, storeError(err)
	}
	return s.get(ctx, q)
}

// cancelIn marks the unanswered messages that match and stops their turns after the
// commit. There are at most as many as the queue holds.
func (s *Service) cancelIn(tx *sqlite.Tx, match string, args ...any) error {
	rows, err := tx.Query(`UPDATE message SET canceled = 1 WHERE state IN ('queued', 'running') AND `+match+` RETURNING seq`, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var seqs []int64
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		seqs = append(seqs, seq)
	}
	tx.AfterCommit(func() {
		for _, seq := range seqs {
			s.thinking.stop(seq)
		}
	})
	return rows.Err()
}

// canceled is the outcome of a turn that was stopped.
func canceled() outcome {
	return outcome{state: bus.StateFailed, code: bus.CodeCanceled, text: "Stopped, as you asked."}
}
