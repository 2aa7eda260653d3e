// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/fold"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// row is an entry as it is stored.
type row struct {
	n int64
	bus.RecallEntry
	sameAbout string
}

const columns = `n, id, owner, text, about, source, importance, at, seen, coalesce(superseded_by, ''), same_about`

func (r *row) scan(scan func(...any) error) error {
	var ms int64
	err := scan(&r.n, &r.ID, &r.Owner, &r.Text, &r.About, &r.Source, &r.Importance, &ms, &r.Seen, &r.SupersededBy, &r.sameAbout)
	r.At = time.UnixMilli(ms).UTC()
	return err
}

// rowsOf reads all rows and closes them.
func rowsOf(rows *sql.Rows, err error) ([]row, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []row
	for rows.Next() {
		var r row
		if err := r.scan(rows.Scan); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// rowWhere reads the first row that matches, nil if there is none.
func rowWhere(tx *sqlite.Tx, where string, args ...any) (*row, error) {
	rows, err := rowsOf(tx.Query(`SELECT `+columns+` FROM recall_entry WHERE `+where+` LIMIT 1`, args...))
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// current reports whether a search may find it.
func (r *row) current() bool { return r.SupersededBy == "" }

// insert stores an entry, and its words if it is current.
func insert(tx *sqlite.Tx, e bus.RecallEntry) (*row, error) {
	r := &row{RecallEntry: e, sameAbout: fold.Key(e.About)}
	res, err := tx.Exec(`INSERT INTO recall_entry (id, owner, text, about, source, importance, at, seen, superseded_by, same_text, same_about)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?)`,
		e.ID, e.Owner, e.Text, e.About, e.Source, e.Importance, e.At.UnixMilli(), e.Seen, e.SupersededBy, sameText(e.Text), r.sameAbout)
	if err != nil {
		return nil, fmt.Errorf("store fact: %w", err)
	}
	if r.n, err = res.LastInsertId(); err != nil || !r.current() {
		return r, err
	}
	return r, r.index(tx)
}

// index and unindex keep the words by which it is found.
func (r *row) index(tx *sqlite.Tx) error {
	_, err := tx.Exec(`INSERT INTO recall_words (rowid, text, about, owner) VALUES (?, ?, ?, ?)`, r.n, r.Text, r.About, r.Owner)
	return err
}

func (r *row) unindex(tx *sqlite.Tx) error {
	_, err := tx.Exec(`INSERT INTO recall_words (recall_words, rowid, text, about, owner) VALUES ('delete', ?, ?, ?, ?)`, r.n, r.Text, r.About, r.Owner)
	return err
}

// remove deletes an entry with all that belongs to it.
func (r *row) remove(tx *sqlite.Tx) error {
	if r.current() {
		if err := r.unindex(tx); err != nil {
			return fmt.Errorf("delete words: %w", err)
		}
	}
	for _, q := range []string{`DELETE FROM recall_vector WHERE n = ?`, `DELETE FROM recall_call WHERE n = ?`, `DELETE FROM recall_entry WHERE n = ?`} {
		if _, err := tx.Exec(q, r.n); err != nil {
			return fmt.Errorf("delete fact: %w", err)
		}
	}
	return nil
}

// supersede makes an entry history: its vector and its words go.
func (r *row) supersede(tx *sqlite.Tx, by string) error {
	if err := r.unindex(tx); err != nil {
		return fmt.Errorf("delete words: %w", err)
	}
	if _, err := tx.Exec(`DELETE FROM recall_vector WHERE n = ?`, r.n); err != nil {
		return fmt.Errorf("delete vector: %w", err)
	}
	_, err := tx.Exec(`UPDATE recall_entry SET superseded_by = ? WHERE n = ?`, by, r.n)
	return err
}

// checkEntry refuses what is not fit to be kept, and tidies the rest.
func checkEntry(e *bus.RecallEntry, now time.Time) error {
	e.Text, e.About = tidy(e.Text), tidy(e.About)
	switch {
	case e.ID == "" || len(e.ID) > bus.RecallMaxID || !utf8.ValidString(e.ID):
		return bus.Errorf(bus.CodeInvalid, "a fact needs an id of 1 to %d bytes", bus.RecallMaxID)
	case !validOwner(e.Owner):
		return bus.Errorf(bus.CodeInvalid, "a fact needs an owner of 1 to %d bytes, with a letter or digit", bus.RecallMaxID)
	case e.Text == "":
		return bus.Errorf(bus.CodeInvalid, "there is nothing to remember: the text is empty")
	case len(e.Text) > bus.RecallMaxText:
		return bus.Errorf(bus.CodeTooLarge, "a fact may have %d bytes, not %d", bus.RecallMaxText, len(e.Text)).WithHint("say it in fewer words, or as several facts")
	case len(e.About) > bus.RecallMaxAbout:
		return bus.Errorf(bus.CodeTooLarge, "what a fact is about may have %d bytes, not %d", bus.RecallMaxAbout, len(e.About)).WithHint("two or three words are enough")
	case e.Source != bus.RecallPerson && e.Source != bus.RecallModel && e.Source != bus.RecallSession:
		return bus.Errorf(bus.CodeInvalid, "the source of a fact is %s, %s or %s, not %q", bus.RecallPerson, bus.RecallModel, bus.RecallSession, e.Source)
	case !(e.Importance >= 0 && e.Importance <= 1):
		return bus.Errorf(bus.CodeInvalid, "importance is from 0 to 1, not %v", e.Importance)
	case len(e.SupersededBy) > bus.RecallMaxID:
		return bus.Errorf(bus.CodeInvalid, "superseded_by is no id")
	}
	if e.At.IsZero() || e.At.After(now) {
		e.At = now
	}
	e.At = time.UnixMilli(max(e.At.UnixMilli(), 0)).UTC()
	e.Seen = min(max(e.Seen, 1), math.MaxInt32)
	return nil
}

func validOwner(owner string) bool {
	return len(owner) <= bus.RecallMaxID && utf8.ValidString(owner) && strings.ContainsFunc(owner, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

// tidy takes away what is not text; FTS5 and terminals end at a zero.
func tidy(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}
