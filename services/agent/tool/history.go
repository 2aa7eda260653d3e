// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Bounds of what search_history finds.
const (
	maxExchanges = 6
	maxSide      = 700 // bytes of a message, and of its answer
)

// searchHistory finds exchanges of the conversation that the model does not read any
// more: a summary stands for them, or another conversation was begun. The index is the
// agent's (message_words).
type searchHistory struct{ store *sqlite.Store }

// Spec describes the tool.
func (searchHistory) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameHistory, Description: "Find what was said earlier in this conversation, word for word and with dates, by its words.",
		Schema: json.RawMessage(`{"type":"object","properties":{"query":{"type":"string","maxLength":500}},"required":["query"],"additionalProperties":false}`)}
}

// Call searches the session's exchanges, best first.
func (t searchHistory) Call(ctx context.Context, c Call) (Result, error) {
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
	found, err := t.find(ctx, c, match, strings.Fields(strings.ToLower(in.Query)))
	if err != nil {
		return Result{}, fmt.Errorf("search history: %w", err)
	}
	if len(found) == 0 {
		return Result{Text: fmt.Sprintf("Nothing about %q was said in this conversation.", in.Query)}, nil
	}
	return Result{Text: outside("what was said in this conversation, best match first", strings.Join(found, "\n\n"), false)}, nil
}

func (t searchHistory) find(ctx context.Context, c Call, match string, words []string) (found []string, err error) {
	var session int64
	if err := t.store.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM session WHERE channel = ? AND owner = ? AND name = ?`, c.Channel, c.Owner, c.Session).Scan(&session); err != nil {
		return nil, err
	}
	rows, err := t.store.Query(ctx, `SELECT m.text, m.reply, m.received_at FROM message_words JOIN message m ON m.seq = message_words.rowid
		WHERE message_words MATCH ? AND m.session_id = ? ORDER BY bm25(message_words, 0, 1, 1), m.seq DESC LIMIT ?`,
		fmt.Sprintf("session : s%d AND {text reply} : (%s)", session, match), session, maxExchanges)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text, reply string
		var at int64
		if err := rows.Scan(&text, &reply, &at); err != nil {
			return nil, err
		}
		found = append(found, fmt.Sprintf("%s\nperson: %s\nyou: %s", time.UnixMilli(at).In(c.Now.Location()).Format("2006-01-02 15:04"), around(text, words), around(reply, words)))
	}
	return found, rows.Err()
}

// around is the part of a text that stands around the first of the words in it.
func around(text string, words []string) string {
	if len(text) <= maxSide {
		return text
	}
	low, at := strings.ToLower(text), -1
	for _, w := range words {
		if i := strings.Index(low, w); i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	from := min(max(at-maxSide/2, 0), len(text)-maxSide) // lower case may be longer or shorter
	part := strings.ToValidUTF8(text[from:from+maxSide], "")
	if from > 0 {
		part = "… " + part
	}
	if from+maxSide < len(text) {
		part += " …"
	}
	return part
}

const maxQueryWords = 16

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
