// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"testing"
)

// Anthropic speaks the Messages API.
type Anthropic struct {
	*vendor
	requests []AnthropicRequest
}

// NewAnthropic starts a server that lives until the end of the test. Without a
// script it says "ok".
func NewAnthropic(t testing.TB) *Anthropic {
	t.Helper()
	return start(t).Anthropic
}

// URL is the base URL: http://127.0.0.1:….
func (o *Anthropic) URL() string { return o.host.server.URL }

// Requests returns the questions so far, oldest first, refused ones included.
func (o *Anthropic) Requests() []AnthropicRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]AnthropicRequest(nil), o.requests...)
}

// AnthropicRequest is one question as it arrived.
type AnthropicRequest struct {
	Header     http.Header        `json:"-"`
	Body       []byte             `json:"-"`
	Model      string             `json:"model"`
	MaxTokens  *int64             `json:"max_tokens"`
	Stream     bool               `json:"stream"`
	System     []Block            `json:"system"`
	Tools      []AnthropicTool    `json:"tools"`
	Messages   []AnthropicMessage `json:"messages"`
	ToolChoice *struct {
		Type string `json:"type"`
	} `json:"tool_choice"`
}

// PromptTokens is how large the prompt is, in tokens of four bytes.
func (r AnthropicRequest) PromptTokens() int64 { return promptTokens(r.Body) }

// AnthropicTool is a tool on offer.
type AnthropicTool struct {
	Name         string          `json:"name"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"input_schema"`
	CacheControl *CacheControl   `json:"cache_control,omitempty"`
}

// AnthropicMessage is one of a question's messages.
type AnthropicMessage struct {
	Role    string  `json:"role"`
	Content []Block `json:"content"`
}

// Block is a part of a message or of the system prompt.
type Block struct {
	Type         string          `json:"type"`
	Text         string          `json:"text,omitempty"`
	Source       *Source         `json:"source,omitempty"`
	ID           string          `json:"id,omitempty"`
	Name         string          `json:"name,omitempty"`
	Input        json.RawMessage `json:"input,omitempty"`
	ToolUseID    string          `json:"tool_use_id,omitempty"`
	Content      string          `json:"content,omitempty"`
	IsError      bool            `json:"is_error,omitempty"`
	CacheControl *CacheControl   `json:"cache_control,omitempty"`
}

// Source is an image's.
type Source struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type"`
	Data      []byte `json:"data"` // base64 on the wire
}

// CacheControl marks a block up to which the prompt is cached.
type CacheControl struct {
	Type string `json:"type"`
}

func (o *Anthropic) answer(w http.ResponseWriter, r *http.Request) {
	var req AnthropicRequest
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 32<<20))
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		err = d.Decode(&req)
	}
	req.Header, req.Body = r.Header.Clone(), body
	o.mu.Lock()
	o.requests = latest(o.requests, req, o.keep)
	o.mu.Unlock()
	a, key, n := o.next(req.question())
	switch got := r.Header.Get("X-Api-Key"); {
	case key != "" && got == "":
		a = Fails(http.StatusUnauthorized, "authentication_error", "x-api-key header is required")
	case key != "" && got != key:
		a = Fails(http.StatusUnauthorized, "authentication_error", "invalid x-api-key")
	case r.Header.Get("Anthropic-Version") != "2023-06-01":
		a = Fails(http.StatusBadRequest, "invalid_request_error", "anthropic-version: it must be 2023-06-01")
	case err != nil:
		a = Fails(http.StatusBadRequest, "invalid_request_error", "request body: "+err.Error())
	case req.fault() != "":
		a = Fails(http.StatusBadRequest, "invalid_request_error", req.fault())
	}
	o.wait(r)
	if a.begun() {
		c := o.meter(req.Model, req.pieces())
		a = a.count(c)
		o.bill(req.Model, a, c)
	}
	a.write(w, r, o.host.stop, func() any { return a.anthropicFailure() }, func() {
		events{w: w, model: cmp.Or(req.Model, "none"), number: n}.answer(a, func() { a.end(w, r, o.host.stop) })
	})
}

// pieces are the prompt's parts in the order in which they are cached. The marks
// themselves are no part of it.
func (r AnthropicRequest) pieces() []piece {
	var out []piece
	for _, t := range r.Tools {
		marked := t.CacheControl != nil
		t.CacheControl = nil
		out = append(out, newPiece("tool", t, marked))
	}
	add := func(of string, blocks []Block) {
		for _, b := range blocks {
			marked := b.CacheControl != nil
			b.CacheControl = nil
			out = append(out, newPiece(of, b, marked))
		}
	}
	add("system", r.System)
	for _, m := range r.Messages {
		add(m.Role, m.Content)
	}
	return out
}

// question is what of it matters to who replies.
func (r AnthropicRequest) question() Question {
	q := Question{Model: r.Model}
	for _, t := range r.Tools {
		q.Tools = append(q.Tools, t.Name)
	}
	for _, m := range r.Messages {
		if m.Role != "user" {
			continue
		}
		q.Results = nil
		for _, b := range m.Content {
			switch b.Type {
			case "text":
				q.Text = b.Text
			case "tool_result":
				q.Results = append(q.Results, b.Content)
			}
		}
	}
	return q
}
