// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram_test

import (
	"testing"

	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// What Telegram was sent since a backup is known after a restore, and so are groups that
// have moved and the bot of now.
func TestCarryOver(t *testing.T) {
	for name, c := range map[string]struct{ restored, old, want string }{
		"since": {`INSERT INTO telegram_sent VALUES ('a', 0, 1, 0, 10); INSERT INTO telegram_bot VALUES (1, 5, 5)`,
			`INSERT INTO telegram_sent VALUES ('a', 0, 1, 1, 10), ('a', 1, 2, 1, 20), ('b', 0, 3, 1, 20);
			INSERT INTO telegram_moved VALUES (-1, -100); INSERT INTO telegram_bot VALUES (1, 5, 6)`,
			"a0=1/1 a1=2/1 b0=3/1; -1>-100; 5,6"},
		"first of all": {`DELETE FROM telegram_sent`, `INSERT INTO telegram_bot VALUES (1, 5, 6)`, "; ; 5,6"},
		"another's":    {`INSERT INTO telegram_bot VALUES (1, 7, 7)`, `INSERT INTO telegram_bot VALUES (1, 5, 6)`, "; ; 7,7"},
		"nothing":      {`INSERT INTO telegram_bot VALUES (1, 7, 7)`, `DELETE FROM telegram_sent`, "; ; 7,7"},
	} {
		t.Run(name, func(t *testing.T) {
			old, restored := roomtest.Store(t, telegram.Schema), roomtest.Store(t, telegram.Schema)
			for db, text := range map[*sqlite.Store]string{old: c.old, restored: c.restored} {
				if err := db.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(text); return err }); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if _, err := telegram.CarryOver(t.Context(), old, restored); err != nil {
					t.Fatal(err)
				}
			}
			var got string
			if err := restored.QueryRow(t.Context(), `SELECT coalesce((SELECT group_concat(key || part || '=' || message_id || '/' || final, ' ') FROM (SELECT * FROM telegram_sent ORDER BY key, part)), '')
				|| '; ' || coalesce((SELECT group_concat(old || '>' || new) FROM telegram_moved), '') || '; ' || (SELECT first || ',' || current FROM telegram_bot)`).Scan(&got); err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}
