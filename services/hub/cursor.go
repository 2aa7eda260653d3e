// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema holds how far the events have come.
var Schema = sqlite.Schema{Room: "hub", Steps: []string{`
CREATE TABLE hub_cursor (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	epoch  TEXT NOT NULL,    -- of the event log
	seq    INTEGER NOT NULL, -- the hub's stream has acknowledged everything up to here
	stream TEXT NOT NULL,    -- that stream, as it calls itself; "" before the first acknowledgement
	domain TEXT NOT NULL     -- and its JetStream domain
);
`}}

// cursor is how far the events have come. It lies in the database of the event
// log: one that is put back from a backup has the cursor of its own time.
type cursor struct {
	epoch          string
	seq            int64
	stream, domain string
}

// loadCursor reads what is stored; found tells whether anything is.
func loadCursor(ctx context.Context, store *sqlite.Store) (c cursor, found bool, err error) {
	err = store.QueryRow(ctx, `SELECT epoch, seq, stream, domain FROM hub_cursor`).Scan(&c.epoch, &c.seq, &c.stream, &c.domain)
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("read the hub's cursor: %w", err)
	}
	return c, true, nil
}

func (c cursor) write(tx *sqlite.Tx) error {
	_, err := tx.Exec(`INSERT OR REPLACE INTO hub_cursor (id, epoch, seq, stream, domain) VALUES (1, ?, ?, ?, ?)`, c.epoch, c.seq, c.stream, c.domain)
	return err
}
