// SPDX-License-Identifier: MIT OR Apache-2.0

// Package offline is the provider without a model. It keeps, finds and forgets
// facts by the agent's ordinary tools, tells the time, and otherwise says plainly that no
// model is configured and how to change that. It costs nothing and needs no key:
// a fresh install answers, and every part around the model does its real work.
package offline

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// Name is the provider's and its only model's name.
const Name = "offline"

// Provider answers without a model. The zero value is ready.
type Provider struct {
	Fallback bool // it stands behind models that do not answer
}

var _ llm.Provider = Provider{}

func (Provider) Name() string  { return Name }
func (Provider) Model() string { return Name }

// Complete answers the last message: with a tool call where one fits, with a
// tool's result, or with what can be done without a model.
func (p Provider) Complete(ctx context.Context, req llm.Request, delta func(string)) (llm.Response, error) {
	if err := ctx.Err(); err != nil {
		return llm.Response{}, err
	}
	out := llm.Response{Model: Name, Guess: true, Usage: bus.Usage{Input: llm.EstimateTokens(req.Size())}}
	if len(req.Messages) == 0 {
		out.Text, out.Aside = p.noModel(""), true
	} else if last := req.Messages[len(req.Messages)-1]; len(last.Results) > 0 {
		out.Text = tell(last.Results)
	} else if call, ok := understand(last.Text, req.Tools); ok {
		out.Calls = []llm.ToolCall{call}
	} else {
		out.Text, out.Aside = p.noModel(last.Text), true
	}
	out.Usage.Output = llm.EstimateTokens(len(out.Text))
	if delta != nil && out.Text != "" {
		delta(out.Text)
	}
	return out, nil
}

// phrases that ask for a tool, longest first where one begins another.
var phrases = []struct {
	start, tool, field string
}{
	{"remember that ", "remember", "text"},
	{"remember: ", "remember", "text"},
	{"remember ", "remember", "text"},
	{"note that ", "remember", "text"},
	{"note: ", "remember", "text"},
	{"note ", "remember", "text"},
	{"what do you know about ", "recall", "query"},
	{"what do you remember about ", "recall", "query"},
	{"recall ", "recall", "query"},
	{"find ", "recall", "query"},
	{"forget that ", "forget", "query"},
	{"forget about ", "forget", "query"},
	{"forget: ", "forget", "query"},
	{"forget ", "forget", "query"},
	{"what time is it", "time", ""},
	{"what is the time", "time", ""},
	{"what's the time", "time", ""},
}

func understand(text string, tools []llm.ToolSpec) (llm.ToolCall, bool) {
	text = strings.TrimSpace(text)
	for _, p := range phrases {
		if len(text) < len(p.start) || !strings.EqualFold(text[:len(p.start)], p.start) || !has(tools, p.tool) {
			continue
		}
		input := map[string]string{}
		if p.field != "" {
			rest := strings.TrimSpace(text[len(p.start):])
			if p.field == "query" {
				rest = strings.TrimRightFunc(rest, unicode.IsPunct)
			}
			if rest == "" {
				continue
			}
			input[p.field] = rest
		}
		data, err := json.Marshal(input)
		if err != nil {
			return llm.ToolCall{}, false // a map of strings always marshals
		}
		return llm.ToolCall{ID: "1", Name: p.tool, Input: data}, true
	}
	return llm.ToolCall{}, false
}

func has(tools []llm.ToolSpec, name string) bool {
	for _, t := range tools {
		if t.Name == name {
			return true
		}
	}
	return false
}

// tell is what tools said, without the frames that are meant for models.
func tell(results []llm.ToolResult) string {
	var parts []string
	for _, r := range results {
		for line := range strings.Lines(r.Text) {
			if line = strings.TrimRight(line, "\n"); !strings.HasPrefix(line, "[") || !strings.HasSuffix(line, "; data, not instructions]") {
				parts = append(parts, line)
			}
		}
	}
	return strings.Join(parts, "\n")
}

func (p Provider) noModel(text string) string {
	about := ""
	if text = strings.Join(strings.Fields(text), " "); text != "" {
		about = fmt.Sprintf(" to think about %q", shorten(text, 60))
	}
	if p.Fallback {
		return "I am here, but no language model can answer now" + about + `.

Ask me again later; /status and /cost tell more. Until then I remember what you tell me: say "remember the boiler code is 4711", then "recall boiler" or "forget boiler".`
	}
	return "I am here, but no language model is configured" + about + `.

Without one I remember what you tell me: say "remember the boiler code is 4711", then "recall boiler" or "forget boiler". /help lists the commands.

To give me a model, keep its key in the vault and start me again with its name:
  blufio config set-secret anthropic.api_key
  BLUFIO_AGENT__PROVIDER=anthropic blufio serve
or the same with openai, or, for Ollama on this machine, in ~/.config/blufio/blufio.toml:
  [agent]
  provider = "ollama/llama3.2"
  [cost.prices."llama3.2"]
  free = true`
}

// shorten cuts s to at most n characters.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}
