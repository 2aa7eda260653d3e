// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/clip"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Recall is what the tools of long-term memory need of the room that keeps it.
type Recall interface {
	// Search finds what is known; what was kept before is found.
	Search(ctx context.Context, q bus.RecallQuery) (bus.RecallHits, error)
	// Keep has a fact kept if tx commits. Ready tells beforehand whether it may.
	Keep(tx *sqlite.Tx, a bus.RecallAdd) error
	Ready() error
	// Forget forgets at once.
	Forget(ctx context.Context, f bus.RecallForget) (bus.RecallForgotten, error)
}

const (
	maxFound     = 8 // facts handed to the model
	maxForgotten = 5 // by one query: beyond, it was meant less widely than it was said
	maxQuery     = 500
)

// importance of what a person asked to be kept, and of what a model thought worth it.
var importance = map[string]float64{bus.RecallPerson: 0.8, bus.RecallModel: 0.6}

// remember keeps a fact.
type remember struct{}

// Spec describes the tool.
func (remember) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameRemember, Description: "Keep a fact about the person for later, as a short sentence that is understood by itself, best in the person's own words.",
		Schema: json.RawMessage(`{"type":"object","properties":{"text":{"type":"string","maxLength":4000},` +
			`"about":{"type":"string","maxLength":100,"description":"What the fact is the one value of, such as \"boiler code\" or \"favourite tea\": it then replaces what was known about the same. Leave it out where several facts can be true."}},` +
			`"required":["text"],"additionalProperties":false}`)}
}

// Call prepares the fact; it is kept with the step.
func (remember) Call(_ context.Context, c Call) (Result, error) {
	var in struct {
		Text  string `json:"text"`
		About string `json:"about"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	text, about := strings.TrimSpace(in.Text), strings.TrimSpace(in.About)
	switch {
	case text == "" || len(text) > bus.RecallMaxText:
		return Result{}, bus.Errorf(bus.CodeInvalid, "a fact has 1 to %d bytes, this one %d", bus.RecallMaxText, len(text))
	case len(about) > bus.RecallMaxAbout:
		return Result{}, bus.Errorf(bus.CodeInvalid, "what it is about has at most %d bytes, this %d", bus.RecallMaxAbout, len(about))
	}
	if err := c.Recall.Ready(); err != nil {
		return Result{}, err
	}
	fact := bus.RecallAdd{ID: c.ID, Owner: c.Person, Text: text, About: about, Source: c.Source, Importance: importance[c.Source], At: c.Now.UTC()}
	return Result{Text: "Noted: " + text, Write: func(tx *sqlite.Tx) error { return c.Recall.Keep(tx, fact) }}, nil
}

// recall finds facts, best first.
type recall struct{}

// Spec describes the tool.
func (recall) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameRecall, Description: "Find what is known about the person: facts kept earlier, by their words and meaning.",
		Schema: json.RawMessage(`{"type":"object","properties":{"query":{"type":"string","maxLength":500}},"required":["query"],"additionalProperties":false}`)}
}

// Call searches what is known of the person. Facts may have come from anywhere: they
// are framed as data.
func (recall) Call(ctx context.Context, c Call) (Result, error) {
	var in struct {
		Query string `json:"query"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	hits, err := search(ctx, c, bus.RecallQuery{Text: in.Query, Limit: maxFound, MaxBytes: maxOutside - maxFound*len("2006-01-02: \n")})
	if err != nil {
		return Result{}, err
	}
	if len(hits) == 0 {
		return Result{Text: fmt.Sprintf("Nothing is known about %q.", in.Query)}, nil
	}
	var lines []string
	for _, h := range hits {
		lines = append(lines, dated(h, c.Now.Location()))
	}
	return Result{Text: outside(Known, strings.Join(lines, "\n"), false)}, nil
}

// Known is how the frame around facts begins.
const Known = "known of this person"

// dated is a fact on a line, with the day on which it was said last.
func dated(h bus.RecallHit, zone *time.Location) string {
	return h.At.In(zone).Format("2006-01-02") + ": " + strings.Join(strings.Fields(h.Text), " ")
}

// search asks for what is known of the caller's person.
func search(ctx context.Context, c Call, q bus.RecallQuery) ([]bus.RecallHit, error) {
	if len(words(q.Text)) == 0 || len(q.Text) > maxQuery {
		return nil, bus.Errorf(bus.CodeInvalid, "a query has words, in 1 to %d bytes", maxQuery)
	}
	q.Owner = c.Person
	found, err := c.Recall.Search(ctx, q)
	return found.Hits, err
}

// forget forgets facts of the person for good.
type forget struct{}

// Spec describes the tool.
func (forget) Spec() llm.ToolSpec {
	return llm.ToolSpec{Name: nameForget, Description: "Forget facts about the person for good, when the person wants that: those that have all words of the query, or the one with the id. When it is not clear which are meant, they are listed with their ids.",
		Schema: json.RawMessage(`{"type":"object","properties":{"query":{"type":"string","maxLength":500},"id":{"type":"string","maxLength":200}},"additionalProperties":false}`)}
}

// Call forgets. Done again after a crash it finds nothing more: a query means all facts
// with its words, and not the best of them.
func (forget) Call(ctx context.Context, c Call) (Result, error) {
	var in struct {
		Query string `json:"query"`
		ID    string `json:"id"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	if (in.Query == "") == (in.ID == "") {
		return Result{}, bus.Errorf(bus.CodeInvalid, "give a query or an id")
	}
	if in.ID != "" {
		return forgetOne(ctx, c, in.ID)
	}
	hits, err := search(ctx, c, bus.RecallQuery{Text: in.Query, Limit: bus.RecallMaxHits})
	if err != nil {
		return Result{}, err
	}
	meant := slices.DeleteFunc(slices.Clone(hits), func(h bus.RecallHit) bool { return !hasWords(h.Text+" "+h.About, in.Query) })
	if len(meant) == 0 && mayBeID(in.Query) { // out of the list below
		if r, err := forgetOne(ctx, c, in.Query); bus.CodeOf(err) != bus.CodeNotFound {
			return r, err
		}
	}
	switch {
	case len(hits) == 0:
		return Result{Text: fmt.Sprintf("Nothing is known about %q, so nothing was forgotten.", in.Query)}, nil
	case len(meant) == 0:
		return Result{Text: "Nothing was forgotten: no fact has all these words. The nearest, each with the id to forget it by:\n" + listed(hits, c.Now.Location())}, nil
	case len(meant) > maxForgotten:
		return Result{Text: fmt.Sprintf("Nothing was forgotten: %d facts have these words. Ask which are meant; some, each with the id to forget it by:\n", len(meant)) + listed(meant, c.Now.Location())}, nil
	}
	f := bus.RecallForget{Owner: c.Person}
	var lines []string
	for _, h := range meant {
		f.IDs = append(f.IDs, h.ID)
		lines = append(lines, dated(h, c.Now.Location()))
	}
	if _, err := c.Recall.Forget(ctx, f); err != nil {
		return Result{}, err
	}
	return Result{Text: "Forgotten for good:\n" + outside(Known, strings.Join(lines, "\n"), false) + "\n" + stillSaid}, nil
}

// mayBeID reports whether a query may be a fact's id, as a person says it who was shown some.
func mayBeID(query string) bool {
	return len(query) <= bus.RecallMaxID && !strings.ContainsFunc(query, unicode.IsSpace)
}

// stillSaid keeps the model from promising more than was done.
const stillSaid = "(Facts only: the conversation in which it was said still has it; /new begins another one.)"

func forgetOne(ctx context.Context, c Call, id string) (Result, error) {
	done, err := c.Recall.Forget(ctx, bus.RecallForget{Owner: c.Person, IDs: []string{id}})
	switch {
	case err != nil:
		return Result{}, err
	case done.Count == 0:
		return Result{}, bus.Errorf(bus.CodeNotFound, "there is no fact with that id")
	}
	return Result{Text: "Forgotten for good: the fact " + id + "\n" + stillSaid}, nil
}

// listed shows the first facts with their ids, framed as data.
func listed(hits []bus.RecallHit, zone *time.Location) string {
	var lines []string
	for _, h := range hits[:min(len(hits), maxFound)] {
		lines = append(lines, h.ID+" "+dated(h, zone))
	}
	text := strings.Join(lines, "\n")
	return outside(Known, clip.Bytes(text, maxOutside), len(text) > maxOutside || len(hits) > maxFound)
}

func words(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
}

// hasWords reports whether all words of the query are in text.
func hasWords(text, query string) bool {
	have := words(text)
	return !slices.ContainsFunc(words(query), func(w string) bool { return !slices.Contains(have, w) })
}
