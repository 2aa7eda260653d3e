// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// OpenAI speaks Chat Completions.
type OpenAI struct {
	*vendor
	requests []Request
}

// NewOpenAI starts a server that lives until the end of the test. Without a
// script it says "ok".
func NewOpenAI(t testing.TB) *OpenAI {
	t.Helper()
	return start(t).OpenAI
}

// URL is the base URL: http://127.0.0.1:…/v1.
func (o *OpenAI) URL() string { return o.host.server.URL + "/v1" }

// Requests returns the questions so far, oldest first, refused ones included.
func (o *OpenAI) Requests() []Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Request(nil), o.requests...)
}

// Request is one question as it arrived.
type Request struct {
	Header              http.Header     `json:"-"`
	Body                []byte          `json:"-"`
	Model               string          `json:"model"`
	Messages            []Message       `json:"messages"`
	ToolChoice          string          `json:"tool_choice"`
	Tools               []Tool          `json:"tools"`
	Stream              bool            `json:"stream"`
	StreamOptions       map[string]bool `json:"stream_options"`
	MaxTokens           *int64          `json:"max_tokens"`
	MaxCompletionTokens *int64          `json:"max_completion_tokens"`
}

// PromptTokens is how large the prompt is, in tokens of four bytes.
func (r Request) PromptTokens() int64 { return promptTokens(r.Body) }

// Message is one of a question's messages. Content is nil where it was null; the
// parts of a message with images are Parts instead.
type Message struct {
	Role       string     `json:"role"`
	Content    *string    `json:"content"`
	Parts      []Part     `json:"-"`
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

// Part is a text or an image.
type Part struct {
	Type     string `json:"type"`
	Text     string `json:"text,omitempty"`
	ImageURL *struct {
		URL string `json:"url"`
	} `json:"image_url,omitempty"`
}

// UnmarshalJSON implements [json.Unmarshaler]: content is a text or parts.
func (m *Message) UnmarshalJSON(data []byte) error {
	type plain Message // without this method
	var raw struct {
		plain
		Content json.RawMessage `json:"content"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&raw); err != nil {
		return err
	}
	*m = Message(raw.plain)
	if len(raw.Content) > 0 && raw.Content[0] == '[' {
		return json.Unmarshal(raw.Content, &m.Parts)
	}
	return json.Unmarshal(raw.Content, &m.Content)
}

// ToolCall is a tool call in a question's history.
type ToolCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function Call   `json:"function"`
}

// Tool is a tool on offer.
type Tool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description"`
		Parameters  json.RawMessage `json:"parameters"`
	} `json:"function"`
}

func (o *OpenAI) answer(w http.ResponseWriter, r *http.Request) {
	var req Request
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		err = d.Decode(&req)
	}
	req.Header, req.Body = r.Header.Clone(), body
	o.mu.Lock()
	o.requests = latest(o.requests, req, o.keep)
	o.mu.Unlock()
	a, key, _ := o.next(req.question())
	switch {
	case key != "" && bearer(r.Header) != key:
		// The vendor repeats the key's first and last letters.
		a = Fails(http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided: "+r.Header.Get("Authorization"))
	case err != nil:
		a = Fails(http.StatusBadRequest, "", "Unrecognized request argument: "+err.Error())
	case req.fault() != "":
		a = Fails(http.StatusBadRequest, "", req.fault())
	}
	o.wait(r)
	if a.begun() && (a.Usage != nil || a.Metered) {
		c := o.meter(req.Model, req.pieces())
		a = a.count(c.automatic())
		o.bill(req.Model, a, c)
	}
	a.write(w, r, o.host.stop, func() any { return a.openAIFailure() }, func() {
		chunks{w: w, model: cmp.Or(req.Model, "none")}.answer(a, func() { a.end(w, r, o.host.stop) })
	})
}

// automatic is a prompt as OpenAI counts it: it caches by itself, in whole 128
// tokens, and writing costs nothing.
func (c counted) automatic() counted {
	return counted{total: c.total, read: c.read / 128 * 128}
}

// pieces are the prompt's parts in the order in which they are cached.
func (r Request) pieces() []piece {
	var out []piece
	for _, t := range r.Tools {
		out = append(out, newPiece("tool", t, true))
	}
	for _, m := range r.Messages {
		out = append(out, newPiece(m.Role, []any{m, m.Parts}, true))
	}
	return out
}

// question is what of it matters to who replies.
func (r Request) question() Question {
	q := Question{Model: r.Model}
	for _, t := range r.Tools {
		q.Tools = append(q.Tools, t.Function.Name)
	}
	for _, m := range r.Messages {
		var text string
		if m.Content != nil {
			text = *m.Content
		}
		for _, p := range m.Parts {
			text += p.Text
		}
		switch m.Role {
		case "tool":
			q.Results = append(q.Results, text)
		case "user":
			q.Text, q.Results = text, nil
		default:
			q.Results = nil
		}
	}
	return q
}

// fault is what the vendor would refuse the question for, "" for nothing.
func (r Request) fault() string {
	if r.Model == "" || len(r.Messages) == 0 {
		return "you must provide a model and messages"
	}
	if r.MaxTokens != nil && r.MaxCompletionTokens != nil {
		return "max_tokens and max_completion_tokens cannot be used at the same time"
	}
	if !r.Stream && r.StreamOptions != nil {
		return "stream_options is only allowed when stream is enabled"
	}
	open := map[string]bool{} // calls whose results have to follow at once
	for _, m := range r.Messages {
		switch {
		case m.Role == "tool" && (!open[m.ToolCallID] || m.Content == nil):
			return "messages with role 'tool' must be a response to a preceding message with 'tool_calls'"
		case m.Role != "tool" && len(open) > 0:
			return "an assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'"
		case !strings.Contains("system user assistant tool", m.Role) || m.Content == nil && len(m.ToolCalls) == 0 && len(m.Parts) == 0:
			return "invalid message"
		case !validParts(m):
			return "invalid content part"
		}
		delete(open, m.ToolCallID)
		for _, c := range m.ToolCalls {
			if m.Role != "assistant" || c.Type != "function" || c.Function.Name == "" || !json.Valid([]byte(c.Function.Arguments)) {
				return "invalid tool_calls"
			}
			open[c.ID] = true
		}
	}
	if len(open) > 0 {
		return "tool_call_ids did not have response messages"
	}
	return ""
}

// validParts reports whether a message's parts are texts and, by the user, images
// in data URLs.
func validParts(m Message) bool {
	for _, p := range m.Parts {
		switch p.Type {
		case "text":
			if p.Text == "" || p.ImageURL != nil {
				return false
			}
		case "image_url":
			if m.Role != "user" || p.ImageURL == nil || !strings.HasPrefix(p.ImageURL.URL, "data:image/") || !strings.Contains(p.ImageURL.URL, ";base64,") {
				return false
			}
		default:
			return false
		}
	}
	return true
}
