// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"encoding/base64"
	"encoding/json"

	"github.com/blufio/blufio/services/agent/llm"
)

// question is the body of POST /chat/completions, as far as it is used.
type question struct {
	Model         string        `json:"model"`
	Messages      []message     `json:"messages"`
	Tools         []tool        `json:"tools,omitempty"`
	ToolChoice    string        `json:"tool_choice,omitempty"`
	Stream        bool          `json:"stream"`
	StreamOptions streamOptions `json:"stream_options"`
	// One of the two: OpenAI calls max_tokens deprecated, and its thinking models
	// refuse it; most others know nothing else.
	MaxCompletionTokens int64 `json:"max_completion_tokens,omitempty"`
	MaxTokens           int64 `json:"max_tokens,omitempty"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type message struct {
	Role       string     `json:"role"`
	Content    any        `json:"content"` // a text, parts, or null where an assistant only calls tools
	ToolCalls  []toolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

// part is a text or an image, in a message that has images.
type part struct {
	Type     string    `json:"type"`
	Text     string    `json:"text,omitempty"`
	ImageURL *imageURL `json:"image_url,omitempty"`
}

type imageURL struct {
	URL string `json:"url"`
}

type toolCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function functionCall `json:"function"`
}

type functionCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type tool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
}

// request translates. The system prompt and the tools come first and always the
// same, so that a provider's prompt cache finds them again.
func (p *Provider) request(req llm.Request) question {
	q := question{Model: req.Model, Stream: true, StreamOptions: streamOptions{IncludeUsage: true}}
	if p.cfg.official() {
		q.MaxCompletionTokens = req.MaxTokens
	} else {
		q.MaxTokens = req.MaxTokens
	}
	if req.System != "" {
		q.Messages = append(q.Messages, message{Role: "system", Content: req.System})
	}
	for _, m := range req.Messages {
		q.Messages = append(q.Messages, translate(m)...)
	}
	for _, t := range req.Tools {
		q.Tools = append(q.Tools, tool{Type: "function", Function: function{Name: t.Name, Description: t.Description, Parameters: t.Schema}})
	}
	if req.NoTools && len(q.Tools) > 0 {
		q.ToolChoice = "none"
	}
	return q
}

// translate makes one message of the vendor's for a text or calls, and one for
// each result.
func translate(m llm.Message) []message {
	var out []message
	for _, r := range m.Results {
		out = append(out, message{Role: "tool", ToolCallID: r.CallID, Content: r.Text})
	}
	if m.Text == "" && m.Notes == "" && len(m.Calls) == 0 && len(m.Images) == 0 && len(out) > 0 {
		return out
	}
	text := m.Text
	if m.Notes != "" {
		text += "\n\n" + m.Notes // at the end: what is before it, a cache finds again
	}
	said := message{Role: string(m.Role), Content: text}
	if len(m.Images) > 0 {
		said.Content = parts(m.Images, text)
	}
	for _, c := range m.Calls {
		said.ToolCalls = append(said.ToolCalls, toolCall{ID: c.ID, Type: "function",
			Function: functionCall{Name: c.Name, Arguments: string(c.Input)}})
	}
	if m.Text == "" && len(m.Calls) > 0 {
		said.Content = nil
	}
	return append(out, said)
}

// parts are the images, in data URLs, and the text.
func parts(images []llm.Image, text string) []part {
	var out []part
	for _, i := range images {
		out = append(out, part{Type: "image_url", ImageURL: &imageURL{"data:" + i.MediaType + ";base64," + base64.StdEncoding.EncodeToString(i.Data)}})
	}
	if text != "" {
		out = append(out, part{Type: "text", Text: text})
	}
	return out
}
