// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema are the room's tables: of each kind of thing the last one, so they do not grow. A
// backup does not know of itself: its row is written when it is there.
var Schema = sqlite.Schema{Room: Name, Steps: []string{`
CREATE TABLE backup_last (
	what    TEXT PRIMARY KEY, -- see the constants beside this
	at      INTEGER NOT NULL, -- Unix milliseconds
	payload BLOB NOT NULL     -- bus.BackupRun or bus.BackupProof as JSON
) WITHOUT ROWID;
`}}

// What is kept of.
const (
	lastSuccess   = "success"
	lastScheduled = "scheduled" // success, of the daemon's own
	lastFailure   = "failure"   // of either
	lastMissed    = "missed"    // failure, of the daemon's own
	lastVerified  = "verified"
	lastDrilled   = "drilled"
	lastUndrilled = "undrilled" // a drill that failed
	lastUnsent    = "unsent"    // a command behind a backup that failed, or has not ended yet
)

// missed is a failure of the schedule's.
type missed struct {
	bus.BackupRun
	Failures int `json:"failures"` // in a row
}

// history is the last of each.
type history struct {
	success, scheduled, failure *bus.BackupRun
	missed                      *missed
	verified, drilled           *bus.BackupProof
	undrilled, unsent           *bus.BackupRun
}

// readHistory reads what is kept. A row of a later version is left out.
func readHistory(ctx context.Context, store *sqlite.Store) (h history, err error) {
	rows, err := store.Query(ctx, `SELECT what, payload FROM backup_last`)
	if err != nil {
		return h, fmt.Errorf("read the last backups: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var what string
		var data []byte
		if err := rows.Scan(&what, &data); err != nil {
			return h, fmt.Errorf("read the last backups: %w", err)
		}
		if err := h.take(what, data); err != nil {
			return h, fmt.Errorf("read the last backups: %s: %w", what, err)
		}
	}
	return h, rows.Err()
}

func (h *history) take(what string, data []byte) error {
	switch what {
	case lastSuccess:
		return json.Unmarshal(data, &h.success)
	case lastScheduled:
		return json.Unmarshal(data, &h.scheduled)
	case lastFailure:
		return json.Unmarshal(data, &h.failure)
	case lastMissed:
		return json.Unmarshal(data, &h.missed)
	case lastVerified:
		return json.Unmarshal(data, &h.verified)
	case lastDrilled:
		return json.Unmarshal(data, &h.drilled)
	case lastUndrilled:
		return json.Unmarshal(data, &h.undrilled)
	case lastUnsent:
		return json.Unmarshal(data, &h.unsent)
	}
	return nil
}

// note keeps v as the last of its kind.
func note(tx *sqlite.Tx, what string, at time.Time, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the last backup: %w", err)
	}
	_, err = tx.Exec(`INSERT OR REPLACE INTO backup_last (what, at, payload) VALUES (?, ?, ?)`, what, at, data)
	return err
}
