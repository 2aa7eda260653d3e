// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"cmp"
	"encoding/json"
	"strings"

	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

// question is the body of POST /v1/messages, as far as it is used. The fields
// stand in the order in which the vendor caches them.
type question struct {
	Model      string      `json:"model"`
	MaxTokens  int64       `json:"max_tokens"`
	Stream     bool        `json:"stream"`
	Tools      []tool      `json:"tools,omitempty"`
	System     []block     `json:"system,omitempty"`
	Messages   []message   `json:"messages"`
	ToolChoice *toolChoice `json:"tool_choice,omitempty"`
}

type toolChoice struct {
	Type string `json:"type"`
}

type tool struct {
	Name         string          `json:"name"`
	Description  string          `json:"description,omitempty"`
	InputSchema  json.RawMessage `json:"input_schema"`
	CacheControl *cacheControl   `json:"cache_control,omitempty"`
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
	noted   bool    // the last block is said this once: no cache would find it again
}

// block is a text, an image, a tool_use or a tool_result.
type block struct {
	Type         string          `json:"type"`
	Text         string          `json:"text,omitempty"`
	Source       *source         `json:"source,omitempty"`
	ID           string          `json:"id,omitempty"`
	Name         string          `json:"name,omitempty"`
	Input        json.RawMessage `json:"input,omitempty"`
	ToolUseID    string          `json:"tool_use_id,omitempty"`
	Content      string          `json:"content,omitempty"`
	IsError      bool            `json:"is_error,omitempty"`
	CacheControl *cacheControl   `json:"cache_control,omitempty"`
}

type source struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type"`
	Data      []byte `json:"data"` // encoding/json writes base64
}

// cacheControl ends a part of the prompt that is to be cached.
type cacheControl struct {
	Type string `json:"type"`
}

// ephemeral is kept for five minutes since its last use.
func ephemeral() *cacheControl { return &cacheControl{Type: "ephemeral"} }

const (
	defaultTokens = 4096 // of an answer: the vendor wants a number
	markedTurns   = 2    // with the tools and the system prompt four marks, the vendor's bound
	noSchema      = `{"type":"object","properties":{}}`
)

// translate makes the vendor's question, with its marks.
func translate(req llm.Request) question {
	q := question{Model: req.Model, MaxTokens: cmp.Or(max(req.MaxTokens, 0), defaultTokens), Stream: true}
	for _, t := range req.Tools {
		schema := t.Schema
		if len(schema) == 0 {
			schema = json.RawMessage(noSchema)
		}
		q.Tools = append(q.Tools, tool{Name: t.Name, Description: t.Description, InputSchema: schema})
	}
	if n := len(q.Tools); n > 0 {
		q.Tools[n-1].CacheControl = ephemeral()
	}
	if !blank(req.System) {
		q.System = []block{{Type: "text", Text: req.System, CacheControl: ephemeral()}}
	}
	for _, m := range req.Messages {
		if content := blocks(m); len(content) > 0 {
			q.Messages = append(q.Messages, message{Role: string(m.Role), Content: content, noted: !blank(m.Notes) && len(content) > 1})
		}
	}
	if req.NoTools && len(q.Tools) > 0 {
		q.ToolChoice = &toolChoice{Type: "none"}
	}
	q.mark()
	return q
}

// mark marks the ends of the user's latest turns: this question's, to be found by
// the next, and the one before, to find what the last question wrote. What is said
// only once stands behind the mark.
func (q *question) mark() {
	left := markedTurns
	for i := len(q.Messages) - 1; i >= 0 && left > 0; i-- {
		if m := q.Messages[i]; m.Role == string(llm.User) {
			end := len(m.Content) - 1
			if m.noted {
				end--
			}
			m.Content[end].CacheControl = ephemeral()
			left--
		}
	}
}

// blocks are a message's: results have to come first, and a blank text may not
// come at all.
func blocks(m llm.Message) []block {
	var out []block
	for _, r := range m.Results {
		text := r.Text
		if text == "" && r.Failed {
			text = "The tool failed." // an error has to say something
		}
		out = append(out, block{Type: "tool_result", ToolUseID: callID(r.CallID), Content: text, IsError: r.Failed})
	}
	for _, i := range m.Images {
		out = append(out, block{Type: "image", Source: &source{Type: "base64", MediaType: i.MediaType, Data: i.Data}})
	}
	if !blank(m.Text) {
		out = append(out, block{Type: "text", Text: m.Text})
	}
	if !blank(m.Notes) {
		out = append(out, block{Type: "text", Text: m.Notes})
	}
	for _, c := range m.Calls {
		out = append(out, block{Type: "tool_use", ID: callID(c.ID), Name: c.Name, Input: wire.Input(c.Input)})
	}
	return out
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }

// callID makes an id of what another provider called a call: the vendor takes
// letters, digits, "_" and "-" only.
func callID(id string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, id)
}
