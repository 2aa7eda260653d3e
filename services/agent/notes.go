// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// notesSchema are the tables in which earlier versions kept what they were asked to
// remember. What is in them goes to the recall room at the first start of this one.
var notesSchema = sqlite.Schema{Room: "notes", Steps: []string{`
CREATE TABLE note (
	id    INTEGER PRIMARY KEY,
	owner TEXT NOT NULL,
	text  TEXT NOT NULL,
	at    INTEGER NOT NULL -- Unix milliseconds
);
CREATE INDEX note_owner ON note (owner);
CREATE VIRTUAL TABLE note_text USING fts5 (text, content = 'note', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2');
CREATE TRIGGER note_added AFTER INSERT ON note BEGIN
	INSERT INTO note_text (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER note_deleted AFTER DELETE ON note BEGIN
	INSERT INTO note_text (note_text, rowid, text) VALUES ('delete', old.id, old.text);
END;
`}}

// note is one row.
type note struct {
	id    int64
	owner string
	text  string
	at    int64
}

// handNotes moves notes of earlier versions to the facts that wait for the recall room,
// a page at a time, each in the transaction that deletes it.
func (d *desk) handNotes(ctx context.Context) error {
	for {
		page, err := d.notes(ctx)
		if err != nil {
			return fmt.Errorf("read notes: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		facts := make([][]bus.RecallAdd, len(page))
		for i, n := range page {
			if facts[i], err = d.factsOf(ctx, n); err != nil {
				return err
			}
		}
		err = d.s.store.Write(ctx, func(tx *sqlite.Tx) error {
			if err := tx.Overwrite(); err != nil {
				return err
			}
			for i, n := range page {
				for _, f := range facts[i] {
					if err := d.Keep(tx, f); err != nil {
						return err
					}
				}
				if _, err := tx.Exec(`DELETE FROM note WHERE id = ?`, n.id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("hand over notes: %w", err)
		}
		if err := d.handOver(ctx); err != nil {
			return err
		}
	}
}

func (d *desk) notes(ctx context.Context) ([]note, error) {
	return query(ctx, d.s.store, `SELECT id, owner, text, at FROM note ORDER BY id LIMIT ?`, func(rows *sql.Rows, n *note) error {
		return rows.Scan(&n.id, &n.owner, &n.text, &n.at)
	}, factPage)
}

// factsOf makes a fact of a note, for everyone whose it may be: it was kept by the
// owner's name alone, whatever the channel.
func (d *desk) factsOf(ctx context.Context, n note) ([]bus.RecallAdd, error) {
	channels, err := column[string](ctx, d.s.store, `SELECT DISTINCT channel FROM session WHERE owner = ? ORDER BY channel`, n.owner)
	if err != nil {
		return nil, fmt.Errorf("look whose a note is: %w", err)
	}
	if len(channels) == 0 {
		channels = []string{terminalChannel}
	}
	var out []bus.RecallAdd
	known := map[string]bool{}
	for _, c := range channels {
		person := d.s.personAt(place(c, n.owner))
		if known[person] {
			continue
		}
		known[person] = true
		out = append(out, bus.RecallAdd{ID: fmt.Sprintf("note-%d-%s", n.id, c), Owner: person, Text: n.text,
			Source: bus.RecallPerson, Importance: noteImportance, At: time.UnixMilli(n.at).UTC()})
	}
	return out, nil
}

const (
	terminalChannel = "terminal"
	noteImportance  = 0.8 // as of what a person asks for now
)
