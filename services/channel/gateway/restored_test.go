// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway_test

import (
	"testing"

	"github.com/blufio/blufio/services/channel/gateway"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// A token that was revoked since the backup stays revoked; one issued since stays unknown.
func TestCarryOver(t *testing.T) {
	old, restored := roomtest.Store(t, gateway.Schema), roomtest.Store(t, gateway.Schema)
	for db, rows := range map[*sqlite.Store]string{
		restored: `('a', 'a', 's', 'chat', 0, x'00', 1, 99, NULL), ('b', 'b', 's', 'chat', 0, x'00', 1, 99, NULL)`,
		old:      `('a', 'a', 's', 'chat', 0, x'00', 1, 99, 9), ('b', 'b', 's', 'chat', 0, x'00', 1, 99, NULL), ('c', 'c', 's', 'chat', 0, x'00', 5, 99, 6)`,
	} {
		if err := db.Write(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO gateway_tokens (id, name, subject, scopes, rate, signer, issued_at, expires_at, revoked_at) VALUES ` + rows)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := gateway.CarryOver(t.Context(), old, restored); n != 1 || err != nil {
		t.Errorf("%d revoked, %v", n, err)
	}
	var got string
	if err := restored.QueryRow(t.Context(), `SELECT group_concat(id || coalesce(revoked_at, ''), ' ') FROM (SELECT * FROM gateway_tokens ORDER BY id)`).Scan(&got); err != nil || got != "a9 b" {
		t.Errorf("%q, %v", got, err)
	}
}
