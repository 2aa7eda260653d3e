// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/blufio/blufio/services/recall/embed/static"
)

const (
	maxTerms = 24 // words of a question that are looked for
	maxTerm  = 64 // bytes of one
)

// expression makes what FTS5 looks for of a question: its words, any of them, within the facts of an owner. It is ""
// when there is nothing to look for. Every word stands in quotes, so nothing in a question is syntax.
func expression(owner, text string) string {
	var terms []string
	seen := map[string]bool{}
	for _, w := range wordsOf(text) {
		if len(w) > maxTerm || seen[w] || static.Common(w) || !utf8.ValidString(w) {
			continue
		}
		seen[w] = true
		if terms = append(terms, `"`+w+`"`); len(terms) == maxTerms {
			break
		}
	}
	if len(terms) == 0 {
		return ""
	}
	found := `{text about} : (` + strings.Join(terms, " OR ") + `)`
	if who := strings.Join(wordsOf(owner), " "); owner != "" {
		found = `owner : "` + who + `" AND ` + found
	}
	return found
}

// byWords finds the facts that share words with a question, best first. Owners that are written alike are told apart by
// who reads the rows.
func (s *Service) byWords(ctx context.Context, owner, text string, depth int) ([]int64, error) {
	match := expression(owner, text)
	if match == "" {
		return nil, nil
	}
	rows, err := s.d.Store.Query(ctx, `SELECT rowid FROM recall_words WHERE recall_words MATCH ? ORDER BY bm25(recall_words, 1.0, 2.0, 0.0) LIMIT ?`, match, depth)
	if err != nil {
		return nil, fmt.Errorf("search words: %w", err)
	}
	defer rows.Close()
	var out []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, fmt.Errorf("search words: %w", err)
		}
		out = append(out, n)
	}
	return out, rows.Err()
}
