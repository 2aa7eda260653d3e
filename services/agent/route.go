// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// Routing is the section [routing]: which model is asked first, by what is asked.
//
//	complex   /think before the question, a code fence, over 2000 characters, or a
//	          word that asks for thorough work ("analyse", "plan", "step by step", …)
//	simple    at most 200 characters, no image, at most 1000 tokens of
//	          conversation before it, and no tool used yet
//	standard  everything else
//
// From 80 % of the tighter budget on, a question counts one less; from 95 % on,
// every one is simple. A tier without an entry is answered by agent.provider,
// which also stands behind every entry. The tier is decided once for a turn: its
// rounds stay with one model, whose prompt cache knows the beginning.
type Routing struct {
	Simple   string `koanf:"simple" doc:"Model for short questions, as \"provider/model\"; empty is agent.provider."`
	Standard string `koanf:"standard" doc:"Model for everything between, as \"provider/model\"; empty is agent.provider."`
	Complex  string `koanf:"complex" doc:"Model for long texts, code, thorough work and what begins with /think, as \"provider/model\"; empty is agent.provider."`
}

// Model is a model of one provider.
type Model struct {
	Provider llm.Provider
	Name     string // "" is the provider's default
}

// String is the model as an entry of the configuration.
func (m Model) String() string { return m.Provider.Name() + "/" + m.Name }

// Models is who may answer.
type Models struct {
	List                      []Model // in the order of fallback, at least one
	Simple, Standard, Complex *Model  // asked before the list; nil: the list answers
	Heartbeat                 *Model  // asked by the agent itself; nil: Simple, or the first of the list
	Extract                   *Model  // asked for facts in conversations; nil: Simple, or the first of the list
}

// Names are the names of the models, each once.
func (ms Models) Names() (out []string) {
	for _, m := range ms.named().all() {
		if !slices.Contains(out, m.Name) {
			out = append(out, m.Name)
		}
	}
	return out
}

// named returns the models with every name filled in.
func (ms Models) named() Models {
	name := func(m Model) Model {
		if m.Name == "" {
			m.Name = m.Provider.Model()
		}
		return m
	}
	out := Models{}
	for _, m := range ms.List {
		out.List = append(out.List, name(m))
	}
	for _, t := range []struct {
		from *Model
		to   **Model
	}{{ms.Simple, &out.Simple}, {ms.Standard, &out.Standard}, {ms.Complex, &out.Complex}, {ms.Heartbeat, &out.Heartbeat}, {ms.Extract, &out.Extract}} {
		if t.from != nil {
			m := name(*t.from)
			*t.to = &m
		}
	}
	return out
}

// all lists every model, tiers included.
func (ms Models) all() []Model {
	all := slices.Clone(ms.List)
	for _, m := range []*Model{ms.Simple, ms.Standard, ms.Complex, ms.Heartbeat, ms.Extract} {
		if m != nil {
			all = append(all, *m)
		}
	}
	return all
}

// routed reports whether it makes a difference what is asked.
func (ms Models) routed() bool { return ms.Simple != nil || ms.Standard != nil || ms.Complex != nil }

// heartbeat is who is asked by the agent itself, and nobody else.
func (ms Models) heartbeat() Model { return ms.cheap(ms.Heartbeat) }

// extract is who is asked what of a conversation is worth remembering.
func (ms Models) extract() Model { return ms.cheap(ms.Extract) }

// summary is who writes summaries, and nobody else.
func (ms Models) summary() Model { return ms.cheap(nil) }

// cheap is the model given, or else the one for simple questions.
func (ms Models) cheap(given *Model) Model {
	for _, m := range []*Model{given, ms.Simple} {
		if m != nil {
			return *m
		}
	}
	return ms.List[0]
}

// route is who is asked a question of this tier, in order.
func (ms Models) route(t tier) []Model {
	first := [...]*Model{tierSimple: ms.Simple, tierStandard: ms.Standard, tierComplex: ms.Complex}[t]
	if first == nil {
		return slices.Clone(ms.List)
	}
	out := []Model{*first}
	for _, m := range ms.List {
		if m.String() != first.String() {
			out = append(out, m)
		}
	}
	return out
}

// tier says how good a model a question deserves.
type tier int

const (
	tierSimple tier = iota
	tierStandard
	tierComplex
)

// question is what the tier depends on.
type question struct {
	text    string
	think   bool // the person asked for thought
	images  bool
	tools   bool  // a tool has been used for it
	history int64 // tokens of conversation before it
}

const (
	simpleChars   = 200
	simpleHistory = 1000 // tokens
	complexChars  = 2000
)

// thorough are words that ask for thorough work.
var thorough = []string{"analyse", "analyze", "analysis", "plan", "prove", "proof", "derive", "refactor", "debug", "design",
	"evaluate", "compare", "thoroughly", "step by step", "in depth", "in detail", "pros and cons", "trade offs"}

// tier applies the rules of [Routing].
func (q question) tier() tier {
	n := utf8.RuneCountInString(q.text)
	switch {
	case q.think, n > complexChars, strings.Contains(q.text, "```"), asksThorough(q.text):
		return tierComplex
	case n <= simpleChars && !q.images && !q.tools && q.history <= simpleHistory:
		return tierSimple
	}
	return tierStandard
}

func asksThorough(text string) bool {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) })
	line := " " + strings.Join(words, " ") + " "
	return slices.ContainsFunc(thorough, func(w string) bool { return strings.Contains(line, " "+w+" ") })
}

// Marks of the tighter budget, in percent.
const (
	saveFrom  = 80 // a tier less
	scantFrom = 95 // the lowest tier
)

// afford is the tier that the budget still allows.
func (t tier) afford(usedPercent int) tier {
	switch {
	case usedPercent >= scantFrom:
		return tierSimple
	case usedPercent >= saveFrom && t > tierSimple:
		return t - 1
	}
	return t
}

// routeFor decides who is asked for a turn. history is how many of the messages
// lie before the question.
func (s *Service) routeFor(ctx context.Context, t *turn, messages []llm.Message, history int) []Model {
	if !s.models.routed() {
		return slices.Clone(s.models.List)
	}
	q := question{text: t.text, think: t.hard, tools: len(t.steps) > 0, images: len(messages[history].Images) > 0}
	for _, m := range messages[:history] {
		q.history += s.tokens(m.Text)
	}
	return s.models.route(q.tier().afford(s.usedPercent(ctx)))
}

// spent remembers how much of the tighter budget is used, as the ledger last said.
type spent struct {
	mu      sync.Mutex
	percent int
	at      time.Time
}

// spentFor is how long that is believed: a period ends, or the owner's limit
// changes, without a reservation that would tell.
const spentFor = time.Minute

func (sp *spent) note(percent int, now time.Time) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.percent, sp.at = percent, now
}

func (sp *spent) read(now time.Time) (percent int, fresh bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.percent, !sp.at.IsZero() && now.Sub(sp.at) < spentFor
}

// usedPercent is how much of the tighter budget is used.
func (s *Service) usedPercent(ctx context.Context) int {
	percent, fresh := s.spent.read(s.now())
	if fresh {
		return percent
	}
	c, err := bus.CostGet.Ask(ctx, s.bus(), bus.CostQuery{})
	if err != nil {
		s.log.Debug("budget not known, routing by what was", "service", "agent", "err", err)
		return percent
	}
	percent = 0
	for _, b := range []struct{ used, limit bus.MicroUSD }{{c.Today, c.DailyLimit}, {c.Month, c.MonthlyLimit}} {
		if b.limit > 0 {
			percent = max(percent, int((b.used+c.Reserved)*100/b.limit))
		}
	}
	s.spent.note(percent, s.now())
	return percent
}

// thinkPrefix before a question asks for the best model.
const thinkPrefix = "/think"

// unprefixed is the question of a message, and whether it came with /think.
func unprefixed(text string) (question string, think bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), thinkPrefix)
	if !ok || strings.TrimLeftFunc(rest, unicode.IsSpace) == rest {
		return text, false // without it, another command, or nothing behind it
	}
	return strings.TrimSpace(rest), true
}
