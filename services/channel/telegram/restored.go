// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// CarryOver tells a restored database what the one that it replaces knows of Telegram
// and no backup can take back: which parts of replies were sent, so that none is sent twice,
// which groups have another id, and which bot it is. There is no offset to carry over:
// Telegram itself knows what was confirmed (see poll.go).
func CarryOver(ctx context.Context, replaced, restored *sqlite.Store) (parts int, err error) {
	parts, err = sqlite.CopyRows(ctx, replaced, restored, `SELECT key, part, message_id, final, at FROM telegram_sent`,
		`INSERT INTO telegram_sent (key, part, message_id, final, at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET message_id = excluded.message_id, final = excluded.final, at = excluded.at
		WHERE excluded.at > at OR excluded.at = at AND (excluded.message_id, excluded.final) <> (message_id, final)`)
	if err != nil {
		return parts, fmt.Errorf("carry over what was sent: %w", err)
	}
	if _, err := sqlite.CopyRows(ctx, replaced, restored, `SELECT old, new FROM telegram_moved`,
		`INSERT OR REPLACE INTO telegram_moved (old, new) VALUES (?, ?)`); err != nil {
		return parts, fmt.Errorf("carry over which groups have moved: %w", err)
	}
	return parts, carryBot(ctx, replaced, restored)
}

// carryBot notes the bot that was met last. Where ids began to count with another bot,
// the replaced database's bot says nothing.
func carryBot(ctx context.Context, replaced, restored *sqlite.Store) error {
	var first, current int64
	err := replaced.QueryRow(ctx, `SELECT first, current FROM telegram_bot`).Scan(&first, &current)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = restored.Write(ctx, func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO telegram_bot (id, first, current) VALUES (1, ?, ?)
				ON CONFLICT DO UPDATE SET current = excluded.current WHERE first = excluded.first`, first, current)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("carry over which bot it is: %w", err)
	}
	return nil
}
