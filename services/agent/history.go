// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"slices"

	"github.com/blufio/blufio/services/agent/llm"
)

// What models read of a conversation has three zones, in this order:
//
//	static       tools and instructions: the same bytes with every question, until
//	             the configuration changes (manner.go)
//	dynamic      a summary of what is older (summary.go), then the latest exchanges
//	             word for word; this begins with the same bytes for many questions
//	conditional  what is known of the person and has to do with the message
//	             (recalled.go): with the message, never kept with it

// conversation is the dynamic zone, the message with the conditional one, and the
// rounds already done.
func (s *Service) conversation(ctx context.Context, t *turn) ([]llm.Message, error) {
	messages, err := s.recent(ctx, t)
	if err != nil {
		return nil, err
	}
	question, err := s.question(ctx, t)
	if err != nil {
		return nil, err
	}
	question.Notes = s.recalled(ctx, t)
	s.metrics.zone(zoneRecalled, s.tokens(question.Notes))
	messages = append(messages, question)
	for _, st := range t.steps {
		messages = append(messages, st.Asked, st.Result)
	}
	return messages, nil
}

// exchange is a message and its answer.
type exchange struct {
	seq             int64
	at              int64 // finished, Unix milliseconds
	asked, answered string
	tokens          int64
}

// past is what of the session the models may read, the newest exchange first.
type past struct {
	summary   summary // zero: none
	exchanges []exchange
	summed    int64 // tokens of the summary as the model reads it
}

// tokens of it all.
func (p past) tokens() int64 { return p.summed + sum(p.exchanges) }

func sum(exchanges []exchange) (n int64) {
	for _, e := range exchanges {
		n += e.tokens
	}
	return n
}

// messages is what the model reads, oldest first.
func (p past) messages() (out []llm.Message) {
	if p.summary.text != "" {
		out = append(out, llm.Message{Role: llm.User, Text: p.summary.framed()}, llm.Message{Role: llm.Assistant, Text: summaryTaken})
	}
	for _, e := range slices.Backward(p.exchanges) {
		out = append(out, llm.Message{Role: llm.User, Text: e.asked}, llm.Message{Role: llm.Assistant, Text: e.answered})
	}
	return out
}

// maxHistory bounds the exchanges read back, whatever their size.
const maxHistory = 100

// recent reads what of the session the model gets to read, oldest first. Where that is
// too much, the older part is summarised first. If it cannot be, the window moves on
// until half of the budget is free again. It moves seldom, for with each move the
// prompt's beginning changes, and what the provider has cached of it is lost.
func (s *Service) recent(ctx context.Context, t *turn) ([]llm.Message, error) {
	budget := s.manner.Load().historyTokens
	p, err := s.read(ctx, t, budget)
	if err != nil {
		return nil, err
	}
	if n := p.tokens(); n > share(budget, s.cfg.CompactHard) || len(p.exchanges) > maxHistory {
		if s.compactNow(ctx, t, n) {
			if p, err = s.read(ctx, t, budget); err != nil {
				return nil, err
			}
		}
	}
	left := budget - p.summed
	keep := fitting(p.exchanges, left)
	if keep < len(p.exchanges) {
		seqs := p.exchanges
		keep = max(min(keep, 1), fitting(p.exchanges[:keep], left/2)) // the last exchange stays if it fits at all
		t.window, t.moved = seqs[keep].seq, true
		p.exchanges = p.exchanges[:keep]
	}
	if p.summary.text != "" {
		t.lead = 2
	}
	s.metrics.zone(zoneStatic, s.staticTokens())
	s.metrics.zone(zoneSummary, p.summed)
	s.metrics.zone(zoneRecent, sum(p.exchanges))
	t.past = p.tokens()
	return p.messages(), nil
}

func share(of int64, part float64) int64 { return int64(float64(of) * part) }

// read reads the summary and the exchanges behind it. It stops behind the first one
// over the budget.
func (s *Service) read(ctx context.Context, t *turn, budget int64) (p past, err error) {
	if t.summed > t.since && budget > 0 {
		if p.summary, err = s.summaryOf(ctx, t.session, t.summed); err != nil {
			return p, err
		}
		p.summed = s.tokens(p.summary.framed()) + s.tokens(summaryTaken)
		if p.summed > budget/2 { // made when the budget was larger
			p.summary, p.summed = summary{}, 0
		}
	}
	p.exchanges, err = s.exchanges(ctx, t.session, max(t.since, t.window, p.summary.to), t.seq, func(all []exchange) bool {
		return sum(all) > budget-p.summed || len(all) > maxHistory
	})
	return p, err
}

// exchanges reads those of a session between two seqs, newest first, until enough says
// so of what was read.
func (s *Service) exchanges(ctx context.Context, session, after, before int64, enough func([]exchange) bool) (out []exchange, err error) {
	rows, err := s.store.Query(ctx, `SELECT seq, coalesce(finished_at, 0), text, attachments, reply FROM message WHERE session_id = ? AND seq > ? AND seq < ?
		AND state = 'answered' AND NOT aside ORDER BY seq DESC`, session, after, before)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e exchange
		var files string
		if err := rows.Scan(&e.seq, &e.at, &e.asked, &files, &e.answered); err != nil {
			return nil, err
		}
		e.asked, _ = unprefixed(e.asked)
		e.asked = withNames(e.asked, files)
		e.tokens = s.tokens(e.asked) + s.tokens(e.answered)
		if out = append(out, e); enough(out) {
			break
		}
	}
	return out, rows.Err()
}

// fitting is how many exchanges, from the first on, are within a budget of tokens
// and within maxHistory.
func fitting(exchanges []exchange, tokens int64) int {
	n := 0
	for ; n < len(exchanges) && n < maxHistory; n++ {
		if tokens -= exchanges[n].tokens; tokens < 0 {
			break
		}
	}
	return n
}
