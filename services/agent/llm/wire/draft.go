// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

const (
	// MaxAnswer bounds an answer, in bytes of text, tool calls and thoughts together.
	MaxAnswer = 1 << 20
	// MaxCalls bounds the tool calls of one answer.
	MaxCalls = 32
	// MaxTokens bounds one count; more is a defect of the server.
	MaxTokens = 100_000_000

	maxModelName = 200
)

// Cut is put behind an answer that reached the bound of its length.
const Cut = " … (cut off: that is all that agent.max_reply_tokens allows)"

// Draft is an answer as far as it has come.
type Draft struct {
	Delta    func(text string) // see [llm.Provider]; may be nil
	Asked    int               // bytes of the question
	Accepted bool              // the server took the question: it may cost something
	Begun    bool              // something of an answer has come
	Calls    []*Call

	model   string
	text    strings.Builder
	size    int
	guessed bool
}

// Call is a tool call that is being put together.
type Call struct {
	Index    int // by which its pieces find it
	ID, Name string
	Input    []byte
}

// Base is the draft itself: what holds one is an [Answer] as far as that goes.
func (d *Draft) Base() *Draft { return d }

// Text is the text so far.
func (d *Draft) Text() string { return d.text.String() }

// Said names the model that answers; the first name counts.
func (d *Draft) Said(model string) {
	if d.model == "" && len(model) <= maxModelName {
		d.model = model
	}
}

// Say adds text and passes it on.
func (d *Draft) Say(text string) {
	if text == "" {
		return
	}
	d.size += len(text)
	d.Append(text)
}

// Append is Say for words that are not the model's.
func (d *Draft) Append(text string) {
	d.text.WriteString(text)
	if d.Delta != nil {
		d.Delta(text)
	}
}

// Count adds bytes that came beside the text: calls, refusals, thoughts.
func (d *Draft) Count(n int) { d.size += n }

// Bounded is an error of [ErrMalformed] for an answer that is over its bounds.
func (d *Draft) Bounded() error {
	if d.size > MaxAnswer || len(d.Calls) > MaxCalls {
		return fmt.Errorf("%w: the answer is over %d bytes or %d tool calls", ErrMalformed, MaxAnswer, MaxCalls)
	}
	return nil
}

// Empty reports whether there is neither text nor a call.
func (d *Draft) Empty() bool { return d.text.Len() == 0 && len(d.Calls) == 0 }

// Named refuses a call without a tool's name.
func (d *Draft) Named(model string) error {
	for _, c := range d.Calls {
		if c.Name == "" {
			return bus.Errorf(bus.CodeInternal, "model %s called a tool without naming it", model)
		}
	}
	return nil
}

// Estimate guesses what has to be paid.
func (d *Draft) Estimate() bus.Usage {
	d.guessed = true
	return bus.Usage{Input: llm.EstimateTokens(d.Asked), Output: llm.EstimateTokens(d.size)}
}

// Response is the answer for the agent. asked is the model that was asked.
func (d *Draft) Response(asked string, paid bus.Usage) llm.Response {
	out := llm.Response{Text: d.Text(), Model: cmp.Or(d.model, asked), Usage: paid, Guess: d.guessed}
	for i, c := range d.Calls {
		if c.ID == "" {
			c.ID = fmt.Sprintf("call_%d", i+1) // its result has to name it
		}
		out.Calls = append(out.Calls, llm.ToolCall{ID: c.ID, Name: c.Name, Input: Input(c.Input)})
	}
	return out
}

// Input makes a JSON object of a call's arguments in any case: no arguments are
// an empty one, and what the model garbled is wrapped in one that no tool
// accepts, so that the tool's refusal tells the model.
func Input(arguments []byte) json.RawMessage {
	trimmed := bytes.TrimSpace(arguments)
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return json.RawMessage(`{}`)
	}
	if trimmed[0] == '{' && json.Valid(trimmed) {
		return json.RawMessage(trimmed)
	}
	wrapped, err := json.Marshal(map[string]string{"not_a_json_object": string(arguments)})
	if err != nil {
		return json.RawMessage(`{"not_a_json_object":""}`) // text always marshals
	}
	return wrapped
}

// Plausible reports whether a server's counts can be true.
func Plausible(counts ...int64) bool {
	var sum int64
	for _, n := range counts {
		if n < 0 || n > MaxTokens {
			return false
		}
		sum += n
	}
	return sum > 0
}
