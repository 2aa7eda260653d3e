// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

// The values of stop_reason that make a difference.
const (
	stopLength  = "max_tokens"
	stopFull    = "model_context_window_exceeded"
	stopRefused = "refusal"
	stopPaused  = "pause_turn"
)

// full is put behind an answer that no longer fitted into the model.
const full = " … (cut off: the model can hold no more of this conversation; /new begins a new one)"

// event is one of the stream's. What is not listed here is passed over: the
// vendor adds to it.
type event struct {
	Type    string `json:"type"`
	Index   int    `json:"index"`
	Message struct {
		Model string  `json:"model"`
		Usage *counts `json:"usage"`
	} `json:"message"` // message_start
	ContentBlock struct {
		Type  string          `json:"type"`
		Text  string          `json:"text"`
		ID    string          `json:"id"`
		Name  string          `json:"name"`
		Input json.RawMessage `json:"input"`
	} `json:"content_block"` // content_block_start
	Delta struct {
		Type        string `json:"type"` // content_block_delta
		Text        string `json:"text"`
		PartialJSON string `json:"partial_json"`
		Thinking    string `json:"thinking"`
		StopReason  string `json:"stop_reason"` // message_delta
		StopDetails *struct {
			Explanation string `json:"explanation"`
		} `json:"stop_details"`
	} `json:"delta"`
	Usage *counts   `json:"usage"` // message_delta: of the whole message so far
	Error *apiError `json:"error"`
}

// counts is the server's "usage". InputTokens excludes what the cache has to do
// with.
type counts struct {
	InputTokens              *int64 `json:"input_tokens"`
	OutputTokens             *int64 `json:"output_tokens"`
	CacheReadInputTokens     *int64 `json:"cache_read_input_tokens"`
	CacheCreationInputTokens *int64 `json:"cache_creation_input_tokens"`
}

// answer is what has come so far.
type answer struct {
	wire.Draft
	p       *Provider
	asked   string // model
	stop    string
	why     string // of a refusal
	blocks  map[int]*wire.Call
	used    bus.Usage
	counted bool // the question was counted
	ended   bool // and the answer
}

func (p *Provider) answer(req llm.Request, delta func(string)) *answer {
	return &answer{Draft: wire.Draft{Delta: delta, Asked: req.Size()}, p: p, asked: req.Model, blocks: map[int]*wire.Call{}}
}

// Read takes the stream to its end. An answer that the model has finished is
// whole even when the connection breaks before the stream's own end.
func (a *answer) Read(r io.Reader) error {
	f := wire.NewFrames(r, "")
	for {
		frame, err := f.Next()
		switch {
		case err != nil && a.stop != "" && !errors.Is(err, wire.ErrMalformed):
			return a.whole()
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
		var e event
		if json.Unmarshal(frame.Data, &e) != nil {
			return fmt.Errorf("%w: an event is not the JSON it should be", wire.ErrMalformed)
		}
		if e.Type = cmp.Or(e.Type, frame.Event); e.Type == "message_stop" {
			return a.whole()
		}
		if err := a.take(e); err != nil {
			return err
		}
	}
}

// whole reports whether the model said that it finished.
func (a *answer) whole() error {
	switch {
	case a.stop == "":
		return io.ErrUnexpectedEOF
	case a.blank() || len(a.Calls) > 0:
	case a.stop == stopLength:
		a.Append(wire.Cut)
	case a.stop == stopFull:
		a.Append(full)
	}
	return nil
}

// blank reports whether there is neither a call nor a text to be seen.
func (a *answer) blank() bool { return len(a.Calls) == 0 && blank(a.Text()) }

// take adds an event.
func (a *answer) take(e event) error {
	switch e.Type {
	case "error":
		if e.Error == nil {
			e.Error = &apiError{}
		}
		a.Accepted = a.Begun || a.counted // refused before it began: nothing to pay
		return a.p.explain(0, e.Error, a.asked)
	case "message_start":
		a.Said(e.Message.Model)
		a.count(e.Message.Usage)
		a.counted = e.Message.Usage != nil
	case "content_block_start":
		a.Begun = true
		a.begin(e)
	case "content_block_delta":
		if err := a.add(e); err != nil {
			return err
		}
	case "message_delta":
		a.Begun = true
		a.stop = cmp.Or(e.Delta.StopReason, a.stop)
		if d := e.Delta.StopDetails; d != nil {
			a.why = d.Explanation
		}
		a.count(e.Usage)
		a.ended = a.ended || e.Usage != nil && e.Usage.OutputTokens != nil
	}
	return a.Bounded()
}

// begin opens a block. One of a kind that is not known is opened and has nothing
// in it.
func (a *answer) begin(e event) {
	b := e.ContentBlock
	a.blocks[e.Index] = nil
	switch b.Type {
	case "text":
		a.Say(b.Text)
	case "tool_use":
		c := &wire.Call{Index: e.Index, ID: b.ID, Name: b.Name}
		if string(b.Input) != "{}" {
			c.Input = b.Input // some servers do not stream it
		}
		a.Calls = append(a.Calls, c)
		a.blocks[e.Index] = c
		a.Count(len(b.ID) + len(b.Name) + len(c.Input))
	}
}

// add adds to an open block.
func (a *answer) add(e event) error {
	call, open := a.blocks[e.Index]
	if !open {
		return fmt.Errorf("%w: a piece of a block that has not begun", wire.ErrMalformed)
	}
	switch e.Delta.Type {
	case "text_delta":
		a.Say(e.Delta.Text)
	case "thinking_delta":
		a.Count(len(e.Delta.Thinking))
	case "input_json_delta":
		a.Count(len(e.Delta.PartialJSON))
		if call != nil { // else it is of a tool that the server runs
			call.Input = append(call.Input, e.Delta.PartialJSON...)
		}
	}
	return nil
}

// count takes what the server counted; a later count says it anew.
func (a *answer) count(c *counts) {
	if c == nil {
		return
	}
	set := func(to, from *int64) {
		if from != nil {
			*to = *from
		}
	}
	set(&a.used.Input, c.InputTokens)
	set(&a.used.Output, c.OutputTokens)
	set(&a.used.CacheRead, c.CacheReadInputTokens)
	set(&a.used.CacheWrite, c.CacheCreationInputTokens)
}

// Usage is what has to be paid: what the server counted, of a broken answer at
// least what came, and an estimate where it took the question and did not count,
// or counted nonsense.
func (a *answer) Usage() bus.Usage {
	if !a.Accepted {
		return bus.Usage{}
	}
	u := a.used
	if !wire.Plausible(u.Input, u.Output, u.CacheRead, u.CacheWrite) || u.Input+u.CacheRead+u.CacheWrite == 0 {
		return a.Estimate()
	}
	if !a.ended {
		u.Output = max(u.Output, a.Estimate().Output)
	}
	return u
}
