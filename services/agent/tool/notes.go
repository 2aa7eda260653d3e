// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Bounds of notes.
const (
	maxNoteBytes  = 4 << 10
	maxFound      = 8 // notes handed to the model
	maxQueryWords = 16
)

// NotesSchema holds what people asked to be remembered, with a full-text index.
var NotesSchema = sqlite.Schema{Room: "notes", Steps: []string{`
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

// Remember keeps a note.
type Remember struct {
	Store   *sqlite.Store
	Most    int // of one person
	MostAll int // of everybody

	kept *atomic.Int64 // how many there are; may be nil
}

// Spec describes the tool.
func (Remember) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: "remember", Description: "Keep a short note for later, in the person's own words.",
		Schema: json.RawMessage(`{"type":"object","properties":{"text":{"type":"string","maxLength":4000}},"required":["text"],"additionalProperties":false}`)}
}

// Call prepares the note; it is written with the step.
func (r Remember) Call(ctx context.Context, c Call) (Result, error) {
	var in struct {
		Text string `json:"text"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	text := strings.TrimSpace(in.Text)
	if text == "" || len(text) > maxNoteBytes {
		return Result{}, bus.Errorf(bus.CodeInvalid, "a note has 1 to %d bytes, this one %d", maxNoteBytes, len(text))
	}
	var own, all int
	if err := r.Store.QueryRow(ctx, `SELECT count(*) FILTER (WHERE owner = ?), count(*) FROM note`, c.Owner).Scan(&own, &all); err != nil {
		return Result{}, fmt.Errorf("count notes: %w", err)
	}
	switch {
	case own >= r.Most:
		return Result{}, bus.Errorf(bus.CodeTooLarge, "there are %d notes already, the most that are kept of one person", own)
	case all >= r.MostAll:
		return Result{}, bus.Errorf(bus.CodeTooLarge, "there are %d notes already, the most that are kept of everybody together", all)
	}
	return Result{Text: "Noted: " + text, Write: func(tx *sqlite.Tx) error {
		if _, err := tx.Exec(`INSERT INTO note (owner, text, at) VALUES (?, ?, ?)`, c.Owner, text, c.Now); err != nil {
			return err
		}
		if r.kept != nil {
			tx.AfterCommit(func() { r.kept.Add(1) })
		}
		return nil
	}}, nil
}

// Recall finds notes by their words, best first.
type Recall struct{ Store *sqlite.Store }

// Spec describes the tool.
func (Recall) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: "recall", Description: "Find notes kept earlier, by their words.",
		Schema: json.RawMessage(`{"type":"object","properties":{"query":{"type":"string","maxLength":500}},"required":["query"],"additionalProperties":false}`)}
}

// Call searches the owner's notes.
func (r Recall) Call(ctx context.Context, c Call) (Result, error) {
	var in struct {
		Query string `json:"query"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	match := matchAny(in.Query)
	if match == "" {
		return Result{}, bus.Errorf(bus.CodeInvalid, "the query has no words")
	}
	rows, err := r.Store.Query(ctx, `SELECT n.text, n.at FROM note_text JOIN note n ON n.id = note_text.rowid
		WHERE note_text MATCH ? AND n.owner = ? ORDER BY bm25(note_text), n.at DESC LIMIT ?`, match, c.Owner, maxFound)
	if err != nil {
		return Result{}, fmt.Errorf("search notes: %w", err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var text string
		var at int64
		if err := rows.Scan(&text, &at); err != nil {
			return Result{}, fmt.Errorf("search notes: %w", err)
		}
		found = append(found, fmt.Sprintf("%s: %s", time.UnixMilli(at).In(c.Now.Location()).Format("2006-01-02"), text))
	}
	if err := rows.Err(); err != nil {
		return Result{}, fmt.Errorf("search notes: %w", err)
	}
	if len(found) == 0 {
		return Result{Text: fmt.Sprintf("No note about %q.", in.Query)}, nil
	}
	return Result{Text: strings.Join(found, "\n")}, nil
}

// matchAny makes an FTS5 expression that finds any of the query's words. Words
// are quoted, so that nothing a person types is taken for FTS5 syntax.
func matchAny(query string) string {
	words := strings.FieldsFunc(query, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	if len(words) > maxQueryWords {
		words = words[:maxQueryWords]
	}
	for i, w := range words {
		words[i] = `"` + w + `"`
	}
	return strings.Join(words, " OR ")
}
