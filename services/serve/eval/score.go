// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import "github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"

// What a token of the prompt costs, against one that is neither read from the provider's cache nor written to it: as in
// services/cost/prices.go for most of Anthropic's models, with a cache that is kept for five minutes.
const (
	readWeight  = 0.1
	writeWeight = 1.25
)

// tokens of prompts.
type tokens struct{ all, weighted float64 }

func (t *tokens) add(b fakellm.Bill) {
	u := b.Usage
	t.all += float64(u.Input + u.CacheRead + u.CacheWrite)
	t.weighted += float64(u.Input) + readWeight*float64(u.CacheRead) + writeWeight*float64(u.CacheWrite)
}

// scored is what became of a question: in the long conversation, and in a new one.
type scored struct {
	kind       string
	found      bool // among the first hits of a search
	answerable [2]bool
	outdated   [2]bool // an older value stands there too, or alone
}

// result is that of a way of remembering.
type result struct {
	name      string
	turns     int
	tokens    tokens
	largest   float64 // tokens of a turn
	summaries int
	questions []scored
	last      fakellm.AnthropicRequest // that the model was asked in a turn
}

func newResult(name string) result { return result{name: name} }

// turn counts what a turn has cost, with all that was done for it.
func (r *result) turn(bills []fakellm.Bill) {
	var t tokens
	for _, b := range bills {
		t.add(b)
	}
	r.turns++
	r.tokens.all += t.all
	r.tokens.weighted += t.weighted
	r.largest = max(r.largest, t.all)
}

// add joins the results of another seed.
func (r *result) add(o result) {
	r.turns, r.summaries = r.turns+o.turns, r.summaries+o.summaries
	r.tokens.all, r.tokens.weighted = r.tokens.all+o.tokens.all, r.tokens.weighted+o.tokens.weighted
	r.largest = max(r.largest, o.largest)
	r.questions = append(r.questions, o.questions...)
}

func (r result) perTurn() (all, weighted float64) {
	n := float64(max(r.turns, 1))
	return r.tokens.all / n, r.tokens.weighted / n
}

// reachable stands for all kinds but far, which the built-in embedder cannot find.
const reachable = "all with a word in common"

// share is that of the questions of a kind, "" for all, of which it is true.
func (r result) share(kind string, is func(scored) bool) (share float64, of int) {
	n := 0
	for _, q := range r.questions {
		if kind == "" || q.kind == kind || kind == reachable && q.kind != far {
			of++
			if is(q) {
				n++
			}
		}
	}
	return float64(n) / float64(max(of, 1)), of
}

func (s scored) wasFound() bool { return s.found }
func (s scored) inLong() bool   { return s.answerable[0] }
func (s scored) inNew() bool    { return s.answerable[1] }
