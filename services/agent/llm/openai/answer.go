// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

const (
	done = "[DONE]"

	maxAnswer = 1 << 20     // bytes of text and tool calls together
	maxCalls  = 32          // tool calls in one answer
	maxTokens = 100_000_000 // in one count; more is a defect of the server
)

// The values of finish_reason that make a difference. Servers use "stop" and
// "tool_calls" loosely: whether there are calls tells more.
const (
	finishLength = "length"
	finishFilter = "content_filter"
	finishError  = "error" // OpenRouter's
)

// cut is put behind an answer that reached the bound of its length.
const cut = " … (cut off: that is all that agent.max_reply_tokens allows)"

// chunk is one frame of the stream, "chat.completion.chunk".
type chunk struct {
	Model   string `json:"model"`
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content   string     `json:"content"`
			Refusal   string     `json:"refusal"`
			ToolCalls []fragment `json:"tool_calls"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *counts         `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// fragment is a piece of a tool call.
type fragment struct {
	Index    int          `json:"index"`
	ID       string       `json:"id"`
	Function functionCall `json:"function"`
}

// counts is the server's "usage". PromptTokens includes the cached ones.
type counts struct {
	PromptTokens        int64 `json:"prompt_tokens"`
	CompletionTokens    int64 `json:"completion_tokens"`
	PromptTokensDetails *struct {
		CachedTokens int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// answer is what has come so far.
type answer struct {
	delta func(text string)
	asked int // bytes of the question

	accepted bool // the server took the question: it may cost something
	begun    bool // something of an answer has come
	finish   string
	model    string
	text     strings.Builder
	refusal  strings.Builder
	calls    []*building
	counts   *counts
	size     int
}

// building is a tool call that is being put together.
type building struct {
	index    int
	id, name string
	input    []byte
}

// streamError is an error that came within the stream.
type streamError struct{ *apiError }

func (streamError) Error() string { return "the stream holds an error" }

// read takes the stream to its end. An answer that the model has finished is
// whole even when the connection breaks before the stream's own end.
func (a *answer) read(r io.Reader) error {
	f := newFrames(r)
	for {
		data, err := f.next()
		switch {
		case err == nil && string(data) == done, a.finish != "" && err != nil && !errors.Is(err, errMalformed):
			return a.whole()
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		if err := a.take(data); err != nil {
			return err
		}
	}
}

// whole reports whether the model said that it finished.
func (a *answer) whole() error {
	if a.finish == "" {
		return io.ErrUnexpectedEOF
	}
	if a.finish == finishLength && a.text.Len() > 0 && len(a.calls) == 0 {
		a.say(cut)
	}
	return nil
}

// take adds a frame.
func (a *answer) take(data []byte) error {
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("%w: a frame is not the JSON it should be", errMalformed)
	}
	if len(c.Error) > 0 && string(c.Error) != "null" {
		a.accepted = a.begun // refused before it began: nothing to pay
		return streamError{readError(data)}
	}
	a.begun = true
	if c.Model != "" && a.model == "" && len(c.Model) <= 200 {
		a.model = c.Model
	}
	if c.Usage != nil {
		a.counts = c.Usage
	}
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			continue // only one was asked for
		}
		a.size += len(choice.Delta.Content) + len(choice.Delta.Refusal)
		a.say(choice.Delta.Content)
		a.refusal.WriteString(choice.Delta.Refusal)
		for _, f := range choice.Delta.ToolCalls {
			a.assemble(f)
		}
		if choice.FinishReason != "" {
			a.finish = choice.FinishReason
		}
	}
	if a.size > maxAnswer || len(a.calls) > maxCalls {
		return fmt.Errorf("%w: the answer is over %d bytes or %d tool calls", errMalformed, maxAnswer, maxCalls)
	}
	return nil
}

func (a *answer) say(text string) {
	if text == "" {
		return
	}
	a.text.WriteString(text)
	if a.delta != nil {
		a.delta(text)
	}
}

// assemble adds a piece of a tool call. Pieces belong together by their index;
// some servers give every call the same one, and then another id begins another
// call.
func (a *answer) assemble(f fragment) {
	var b *building
	for _, c := range a.calls {
		if c.index == f.Index {
			b = c // the latest of that index
		}
	}
	if b == nil || f.ID != "" && b.id != "" && f.ID != b.id {
		b = &building{index: f.Index}
		a.calls = append(a.calls, b)
	}
	if b.id == "" {
		b.id = f.ID
	}
	if b.name == "" {
		b.name = f.Function.Name
	}
	b.input = append(b.input, f.Function.Arguments...)
	a.size += len(f.ID) + len(f.Function.Name) + len(f.Function.Arguments)
}

// response is the answer for the agent.
func (a *answer) response(asked string, paid bus.Usage) llm.Response {
	out := llm.Response{Text: a.text.String(), Model: a.model, Usage: paid}
	if out.Model == "" {
		out.Model = asked
	}
	for i, b := range a.calls {
		if b.id == "" {
			b.id = fmt.Sprintf("call_%d", i+1) // its result has to name it
		}
		out.Calls = append(out.Calls, llm.ToolCall{ID: b.id, Name: b.name, Input: input(b.input)})
	}
	return out
}

// input is a JSON object in any case: no arguments are an empty one, and what the
// model garbled is wrapped in one that no tool accepts, so that the tool's
// refusal tells the model.
func input(arguments []byte) json.RawMessage {
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

// usage is what has to be paid: what the server counted, or an estimate when it
// took the question and did not count, or counted nonsense.
func (a *answer) usage() bus.Usage {
	if !a.accepted {
		return bus.Usage{}
	}
	c := a.counts
	if c == nil || c.PromptTokens < 0 || c.PromptTokens > maxTokens || c.CompletionTokens < 0 || c.CompletionTokens > maxTokens ||
		c.PromptTokens+c.CompletionTokens == 0 {
		return bus.Usage{Input: llm.EstimateTokens(a.asked), Output: llm.EstimateTokens(a.size)}
	}
	u := bus.Usage{Input: c.PromptTokens, Output: c.CompletionTokens}
	if d := c.PromptTokensDetails; d != nil {
		u.CacheRead = min(max(d.CachedTokens, 0), u.Input)
		u.Input -= u.CacheRead
	}
	return u
}
