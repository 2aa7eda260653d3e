// SPDX-License-Identifier: MIT OR Apache-2.0

package keys_test

import (
	"testing"

	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/keys"
	"github.com/blufio/blufio/services/roomtest"
)

// A key that was revoked since the backup stays out; one that was issued since is not let in.
func TestCarryOver(t *testing.T) {
	old, restored := roomtest.Store(t, keys.Schema), roomtest.Store(t, keys.Schema)
	for db, rows := range map[*sqlite.Store]string{
		restored: `('A', 'a', 'observer', '[]', '[]', 'i1', 'living', 1, NULL), ('B', 'b', 'observer', '[]', '[]', 'i2', 'living', 1, NULL)`,
		old:      `('A', 'a', 'observer', '[]', '[]', 'i1', 'revoked', 1, 9), ('B', 'b', 'observer', '[]', '[]', 'i2', 'living', 1, NULL), ('C', 'c', 'observer', '[]', '[]', 'i3', 'living', 5, NULL)`,
	} {
		if err := db.Write(t.Context(), func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO bus_keys (public, name, role, allow_sub, allow_pub, inbox, state, issued_at, ended_at) VALUES ` + rows)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := keys.CarryOver(t.Context(), old, restored); n != 1 || err != nil {
		t.Errorf("%d revoked, %v", n, err)
	}
	var got string
	if err := restored.QueryRow(t.Context(), `SELECT group_concat(public || state || coalesce(ended_at, ''), ' ') FROM (SELECT * FROM bus_keys ORDER BY id)`).Scan(&got); err != nil || got != "Arevoked9 Bliving" {
		t.Errorf("%q, %v", got, err)
	}
}
