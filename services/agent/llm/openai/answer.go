// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

const done = "[DONE]" // the data of the last frame

// The values of finish_reason that make a difference. Servers use "stop" and
// "tool_calls" loosely: whether there are calls tells more.
const (
	finishLength = "length"
	finishFilter = "content_filter"
	finishError  = "error" // OpenRouter's
)

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
	wire.Draft
	p       *Provider
	asked   string // model
	finish  string
	refusal strings.Builder
	counts  *counts
}

func (p *Provider) answer(req llm.Request, delta func(string)) *answer {
	return &answer{Draft: wire.Draft{Delta: delta, Asked: req.Size()}, p: p, asked: req.Model}
}

// Read takes the stream to its end. An answer that the model has finished is
// whole even when the connection breaks before the stream's own end.
func (a *answer) Read(r io.Reader) error {
	f := wire.NewFrames(r, done)
	for {
		frame, err := f.Next()
		switch {
		case err == nil && string(frame.Data) == done, a.finish != "" && err != nil && !errors.Is(err, wire.ErrMalformed):
			return a.whole()
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		if err := a.take(frame.Data); err != nil {
			return err
		}
	}
}

// whole reports whether the model said that it finished.
func (a *answer) whole() error {
	if a.finish == "" {
		return io.ErrUnexpectedEOF
	}
	if a.finish == finishLength && !a.Empty() && len(a.Calls) == 0 {
		a.Append(wire.Cut)
	}
	return nil
}

// take adds a frame.
func (a *answer) take(data []byte) error {
	var c chunk
	if err := json.Unmarshal(data, &c); err != nil {
		return fmt.Errorf("%w: a frame is not the JSON it should be", wire.ErrMalformed)
	}
	if len(c.Error) > 0 && string(c.Error) != "null" {
		a.Accepted = a.Begun // refused before it began: nothing to pay
		return a.p.explain(0, readError(data), a.asked)
	}
	a.Begun = true
	a.Said(c.Model)
	if c.Usage != nil {
		a.counts = c.Usage
	}
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			continue // only one was asked for
		}
		a.Say(choice.Delta.Content)
		a.Count(len(choice.Delta.Refusal))
		a.refusal.WriteString(choice.Delta.Refusal)
		for _, f := range choice.Delta.ToolCalls {
			a.assemble(f)
		}
		if choice.FinishReason != "" {
			a.finish = choice.FinishReason
		}
	}
	return a.Bounded()
}

// assemble adds a piece of a tool call. Pieces belong together by their index;
// some servers give every call the same one, and then another id begins another
// call.
func (a *answer) assemble(f fragment) {
	var b *wire.Call
	for _, c := range a.Calls {
		if c.Index == f.Index {
			b = c // the latest of that index
		}
	}
	if b == nil || f.ID != "" && b.ID != "" && f.ID != b.ID {
		b = &wire.Call{Index: f.Index}
		a.Calls = append(a.Calls, b)
	}
	if b.ID == "" {
		b.ID = f.ID
	}
	if b.Name == "" {
		b.Name = f.Function.Name
	}
	b.Input = append(b.Input, f.Function.Arguments...)
	a.Count(len(f.ID) + len(f.Function.Name) + len(f.Function.Arguments))
}

// Usage is what has to be paid: what the server counted, or an estimate when it
// took the question and did not count, or counted nonsense.
func (a *answer) Usage() bus.Usage {
	if !a.Accepted {
		return bus.Usage{}
	}
	c := a.counts
	if c == nil || !wire.Plausible(c.PromptTokens, c.CompletionTokens) {
		return a.Estimate()
	}
	u := bus.Usage{Input: c.PromptTokens, Output: c.CompletionTokens}
	if d := c.PromptTokensDetails; d != nil {
		u.CacheRead = min(max(d.CachedTokens, 0), u.Input)
		u.Input -= u.CacheRead
	}
	return u
}
