// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/serve"
)

// A short conversation with the whole daemon: what has its words is found, whether asked in the same words, in others but one, of what has changed or
// of many, and can be answered; a daemon that remembers nothing fails.
func TestShort(t *testing.T) {
	turns := 60
	if raced {
		turns = 36
	}
	p, err := newPlan(1, turns)
	if err != nil {
		t.Fatal(err)
	}
	results, err := everything(t.Context(), p, []way{ways[0], {"forgetful", func(c *serve.Config) {
		c.Recall.WordsWeight, c.Recall.VectorsWeight = 0, 0
		c.Agent.CompactUSD = 0
		c.Agent.HistoryTokens = 500
	}}})
	if err != nil {
		t.Fatal(err)
	}
	ours, forgetful, whole := results[0], results[1], results[2]
	for _, q := range ours.questions {
		if q.kind != far && q.kind != hasty && (!q.found || !q.inNew() || !q.inLong()) {
			t.Errorf("%s: found %v, answerable %v", q.kind, q.found, q.answerable)
		}
	}
	for _, r := range results {
		all, weighted := r.perTurn()
		t.Logf("%s: %.0f tokens a turn, weighted %.0f", r.name, all, weighted)
		if all < 200 || weighted >= all || r.turns != turns || len(r.questions) != len(p.questions) {
			t.Errorf("%s: %.0f tokens a turn, weighted %.0f, in %d turns; %d questions", r.name, all, weighted, r.turns, len(r.questions))
		}
	}
	if share, n := forgetful.share("", scored.wasFound); share != 0 || n == 0 {
		t.Errorf("without recall %.2f of %d are found", share, n)
	}
	for at, is := range []func(scored) bool{scored.inLong, scored.inNew} {
		if share, _ := forgetful.share("", is); share > 0.2 {
			t.Errorf("without recall, history and summaries %.2f can be answered (%d)", share, at)
		}
	}
	if share, _ := whole.share("", scored.inLong); share != 1 {
		t.Errorf("with the full history %.2f can be answered", share)
	}
	text := report{date: time.Now(), commit: "c", seeds: []uint64{1}, turns: turns, embedder: "built-in", results: results}.markdown()
	if n := strings.Count(text, "\n|"); n != 2+3*(2+len(kinds))+7 {
		t.Errorf("the report has %d lines:\n%s", n, text)
	}
}

// A value counts wherever it stands in the prompt, and an older one is seen beside it.
func TestJudge(t *testing.T) {
	q := question{want: "Oslo", old: []string{"Rome"}}
	for body, want := range map[string][2]bool{`in Oslo`: {true, false}, `in Rome`: {false, true}, `Rome, no, Oslo`: {true, true}, `nowhere`: {false, false}} {
		if answerable, outdated := judge([]byte(body), q); answerable != want[0] || outdated != want[1] {
			t.Errorf("%q: %v, %v", body, answerable, outdated)
		}
	}
}

// The model sums up within the words it has, what tells something and is new first; what is missing is taken in.
func TestSummary(t *testing.T) {
	m := &model{}
	const asked = "What came before, in short:\nThe code is 4711.\n\nThe conversation:\n\n[2026-01-05] Person: Hm. My sister lives in Oslo. How are you?\nAssistant: Fine 99.\n\nThe summary, with at most 9 words:"
	if got := m.summary(asked); got != "The code is 4711. My sister lives in Oslo." {
		t.Errorf("%q", got)
	}
	if got := m.summary(strings.Replace(asked, "9 words", "5 words", 1)); got != "My sister lives in Oslo." {
		t.Errorf("%q", got)
	}
	if got := m.summary(`That cannot stand for the conversation: it lacks "4711". Write the whole summary again, with at most 9 words.`); !strings.Contains(got, "4711") || !strings.Contains(got, "Oslo") {
		t.Errorf("%q", got)
	}
}
