// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/blufio/blufio/services/internal/fold"
	"github.com/blufio/blufio/services/recall/embed/static"
)

const (
	maxTerms = 24 // words of a question that are looked for
	maxTerm  = 64 // bytes of one

	// From so many facts on, at the least one in so many, a word is frequent.
	frequentLeast = 300
	frequentShare = 50
)

// terms are the words of a question that say what it is about.
func terms(text string) []string {
	var out []string
	seen := map[string]bool{}
	for _, w := range fold.Words(text) {
		if len(w) > maxTerm || seen[w] || static.Common(w) || !utf8.ValidString(w) {
			continue
		}
		seen[w] = true
		if out = append(out, w); len(out) == maxTerms {
			break
		}
	}
	return out
}

// expression makes what FTS5 looks for: any of the words, within the facts of an owner. Every word stands in quotes, so nothing in a question is syntax.
func expression(owner string, terms []string) string {
	found := `{text about} : ("` + strings.Join(terms, `" OR "`) + `")`
	if owner != "" {
		found = `owner : "` + fold.Key(owner) + `" AND ` + found
	}
	return found
}

// telling leaves out the words that very many facts have: to rank all of these takes long, and tells little. If there
// are no others, the first few of them have to do.
func (s *Service) telling(ctx context.Context, all []string) ([]string, error) {
	frequent := max(s.rows.Load()/frequentShare, frequentLeast)
	if len(all) < 2 || s.rows.Load() < frequent {
		return all, nil
	}
	var out []string
	for _, w := range all {
		var n int64
		err := s.d.Store.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM recall_words WHERE recall_words MATCH ? LIMIT ?)`, `"`+w+`"`, frequent).Scan(&n)
		if err != nil {
			return nil, fmt.Errorf("count words: %w", err)
		}
		if n > 0 && n < frequent {
			out = append(out, w)
		}
	}
	if len(out) == 0 {
		out = all[:min(len(all), 3)]
	}
	return out, nil
}

// sole reports whether nobody else has facts, as is usual. To look for an owner's name walks through all that they have,
// and takes longer than the rest of a search.
func (s *Service) sole(ctx context.Context, owner string) (sole bool, err error) {
	err = s.d.Store.QueryRow(ctx, `SELECT NOT EXISTS (SELECT 1 FROM recall_entry WHERE owner < ?1) AND NOT EXISTS (SELECT 1 FROM recall_entry WHERE owner > ?1)`, owner).Scan(&sole)
	if err != nil {
		return false, fmt.Errorf("look for other owners: %w", err)
	}
	return sole, nil
}

// byWords finds the facts that share words with a question, best first. Owners that are written alike have the same words,
// and are told apart by who reads the rows; exactly does it here, which costs a look at every row that matches.
func (s *Service) byWords(ctx context.Context, owner, text string, depth int, exactly bool) ([]int64, error) {
	words, err := s.telling(ctx, terms(text))
	if len(words) == 0 || err != nil {
		return nil, err
	}
	within := owner
	if sole, err := s.sole(ctx, owner); err != nil {
		return nil, err
	} else if sole {
		within = ""
	}
	match := expression(within, words)
	query, args := `SELECT rowid FROM recall_words WHERE recall_words MATCH ?1 `, []any{match, depth}
	if exactly {
		query, args = query+`AND (SELECT owner FROM recall_entry WHERE n = recall_words.rowid) = ?3 `, append(args, owner)
	}
	rows, err := s.d.Store.Query(ctx, query+`ORDER BY bm25(recall_words, 1.0, 2.0, 0.0) LIMIT ?2`, args...)
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
