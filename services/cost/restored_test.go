// SPDX-License-Identifier: MIT OR Apache-2.0

package cost_test

import (
	"testing"

	"github.com/blufio/blufio/services/cost"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// What was spent since a backup is spent, once, on its own day; and a stop stays a stop.
func TestCarryOver(t *testing.T) {
	old, restored := roomtest.Store(t, cost.Schema), roomtest.Store(t, cost.Schema)
	put := func(db *sqlite.Store, text string) {
		t.Helper()
		if err := db.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(text); return err }); err != nil {
			t.Fatal(err)
		}
	}
	const both = `INSERT INTO cost_ledger VALUES ('a', 1, '2026-01-31', 'p', 'm', 'turn', 's', 'x', 1, 1, 0, 0, 100);
		INSERT INTO cost_day VALUES ('2026-01-31', 'm', 'turn', 1, 1, 1, 0, 0, 100);
		INSERT INTO cost_period (period, start, spent) VALUES ('day', '2026-01-31', 100), ('month', '2026-01-01', 100);`
	put(old, both)
	put(restored, both)
	put(old, `INSERT INTO cost_ledger VALUES ('b', 2, '2026-01-31', 'p', 'm', 'tool:x', 's', 'x', 3, 4, 5, 6, 20);
		INSERT INTO cost_ledger VALUES ('c', 3, '2026-02-01', 'p', 'm', 'turn', 's', 'x', 1, 1, 0, 0, 7);
		UPDATE cost_switch SET stopped = 1, reason = 'enough'`)
	for i, want := range []int{2, 0} {
		if n, err := cost.CarryOver(t.Context(), old, restored); n != want || err != nil {
			t.Fatalf("time %d: %d calls, %v; want %d", i+1, n, err, want)
		}
	}
	for query, want := range map[string]string{
		`SELECT group_concat(period || start || '=' || spent, ' ') FROM (SELECT * FROM cost_period ORDER BY period, start)`: "day2026-01-31=120 day2026-02-01=7 month2026-01-01=120 month2026-02-01=7",
		`SELECT group_concat(purpose || calls || '=' || amount, ' ') FROM (SELECT * FROM cost_day ORDER BY day, purpose)`:   "tool1=20 turn1=100 turn1=7",
		`SELECT stopped || reason FROM cost_switch`: "1enough",
	} {
		var got string
		if err := restored.QueryRow(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", query, got, err, want)
		}
	}
}
