// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/offline"
)

func TestTier(t *testing.T) {
	for name, c := range map[string]struct {
		q    question
		want tier
	}{
		"short":             {question{text: "is it raining?"}, tierSimple},
		"at its length":     {question{text: strings.Repeat("é", simpleChars)}, tierSimple},
		"over its length":   {question{text: strings.Repeat("é", simpleChars+1)}, tierStandard},
		"an image":          {question{text: "what is this?", images: true}, tierStandard},
		"a tool used":       {question{text: "is it raining?", tools: true}, tierStandard},
		"a history":         {question{text: "and then?", history: simpleHistory}, tierSimple},
		"a long history":    {question{text: "and then?", history: simpleHistory + 1}, tierStandard},
		"a text":            {question{text: strings.Repeat("x", complexChars)}, tierStandard},
		"a long text":       {question{text: strings.Repeat("x", complexChars+1)}, tierComplex},
		"code":              {question{text: "what is\n```go\nx := 1\n```"}, tierComplex},
		"a word":            {question{text: "Analyse this."}, tierComplex},
		"words":             {question{text: "tell me step-by-step"}, tierComplex},
		"part of a word":    {question{text: "the planet explains proven plants"}, tierSimple},
		"asked for":         {question{text: "why?", think: true}, tierComplex},
		"a word, an image":  {question{text: "compare them", images: true}, tierComplex},
		"nothing in letter": {question{text: "?!"}, tierSimple},
	} {
		if got := c.q.tier(); got != c.want {
			t.Errorf("%s: tier %d, want %d", name, got, c.want)
		}
	}
}

func TestAfford(t *testing.T) {
	for _, c := range []struct {
		t       tier
		percent int
		want    tier
	}{
		{tierComplex, 0, tierComplex}, {tierComplex, 79, tierComplex}, {tierComplex, 80, tierStandard}, {tierComplex, 94, tierStandard},
		{tierComplex, 95, tierSimple}, {tierStandard, 80, tierSimple}, {tierSimple, 80, tierSimple}, {tierSimple, 400, tierSimple},
	} {
		if got := c.t.afford(c.percent); got != c.want {
			t.Errorf("tier %d at %d %%: %d, want %d", c.t, c.percent, got, c.want)
		}
	}
}

func TestRoute(t *testing.T) {
	m := func(name string) Model { return Model{Provider: offline.Provider{}, Name: name} }
	big := m("b")
	ms := Models{List: []Model{m("a"), m("b"), {Provider: offline.Provider{}}}, Complex: &big}.named()
	for tr, want := range map[tier]string{tierSimple: "a b offline", tierStandard: "a b offline", tierComplex: "b a offline"} {
		var got []string
		for _, m := range ms.route(tr) {
			got = append(got, m.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("tier %d: %v, want %s", tr, got, want)
		}
	}
	if !ms.routed() || (Models{List: ms.List}).routed() {
		t.Error("routing is not on where it should be")
	}
}

func TestUnprefixed(t *testing.T) {
	for text, want := range map[string]string{"/think why?": "why?", " /think\n\nwhy\n?": "why\n?"} {
		if got, think := unprefixed(text); got != want || !think {
			t.Errorf("%q: %q, %v", text, got, think)
		}
	}
	for _, text := range []string{"/think", "/think ", "/thinker why?", "why? /think so", "/help"} {
		if got, think := unprefixed(text); got != text || think {
			t.Errorf("%q: %q, %v", text, got, think)
		}
	}
}

// At least one exchange goes, at most half stays, and in the end nothing does.
func TestTrim(t *testing.T) {
	history := func(sizes ...int) (out []llm.Message) {
		for _, n := range sizes {
			out = append(out, llm.Message{Role: llm.User, Text: strings.Repeat("q", n)}, llm.Message{Role: llm.Assistant})
		}
		return out
	}
	for name, c := range map[string]struct {
		history []llm.Message
		trims   int
		want    int
	}{
		"even":         {history(10, 10, 10, 10), 0, 4},
		"old is large": {history(100, 1, 1), 0, 2},
		"new is large": {history(1, 1, 100), 0, 6},
		"one":          {history(5), 0, 2},
		"empty texts":  {history(0, 0), 0, 2},
		"the last try": {history(100, 1, 1), maxTrims, 6},
	} {
		if got := trim(c.history, c.trims); got != c.want {
			t.Errorf("%s: %d left out, want %d", name, got, c.want)
		}
	}
}

// Who is asked first leaves time for those behind.
func TestShare(t *testing.T) {
	for behind, want := range map[int]time.Duration{0: 64 * time.Hour, 1: 48 * time.Hour, 2: 36 * time.Hour, 3: 27 * time.Hour} {
		ctx, cancel := context.WithTimeout(t.Context(), 64*time.Hour)
		share, end := withShare(ctx, behind)
		deadline, _ := share.Deadline()
		if got := time.Until(deadline).Round(time.Minute); got != want {
			t.Errorf("%d behind: %s, want %s", behind, got, want)
		}
		end()
		cancel()
	}
}

// Ids of calls are taken back by every vendor: none twice, none strange.
func TestPortable(t *testing.T) {
	done := []step{{Asked: llm.Message{Calls: []llm.ToolCall{{ID: "1"}}}}}
	given := []llm.ToolCall{{ID: "1"}, {ID: "toolu_01-A"}, {ID: "toolu_01-A"}, {ID: ""}, {ID: "functions.time:0"}, {ID: strings.Repeat("x", 65)}}
	got, seen := portable(given, done), map[string]bool{"1": true}
	for i, c := range got {
		if seen[c.ID] || c.ID == "" || len(c.ID) > 64 || strings.ContainsFunc(c.ID, strange) {
			t.Errorf("call %d has the id %q", i, c.ID)
		}
		seen[c.ID] = true
	}
	if got[1].ID != "toolu_01-A" || given[0].ID != "1" {
		t.Errorf("good ids are kept, and the model's answer is left as it is: %+v of %+v", got, given)
	}
}
