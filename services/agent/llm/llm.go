// SPDX-License-Identifier: MIT OR Apache-2.0

// Package llm is what the agent knows of language models: one small interface
// that every provider implements.
package llm

import (
	"context"
	"encoding/json"

	"github.com/blufio/blufio/bus"
)

// Provider answers a conversation. One provider serves many turns at once.
type Provider interface {
	// Name is the provider's name in the configuration and the ledger.
	Name() string
	// Model is the model that a request without one is answered by.
	Model() string
	// Complete asks the model once. It calls delta, if not nil, with each piece of
	// text as it arrives, in order and from one goroutine; the Response holds the
	// whole text again. An error means that there is no answer, whatever was
	// streamed before.
	Complete(ctx context.Context, req Request, delta func(text string)) (Response, error)
}

// Request is one question to a model.
type Request struct {
	Model     string // "" is the provider's default
	System    string
	Messages  []Message // oldest first; the last one is the user's or holds tool results
	Tools     []ToolSpec
	NoTools   bool  // the tools are only shown, as the prompt's prefix and for the calls made: none may be called
	MaxTokens int64 // of the answer
}

// Role says who speaks in a message.
type Role string

const (
	User      Role = "user"
	Assistant Role = "assistant"
)

// Message is one contribution to the conversation: text, tool calls (by the
// assistant) or their results (by the user).
type Message struct {
	Role    Role         `json:"role"`
	Text    string       `json:"text,omitempty"`
	Notes   string       `json:"-"` // by the user, said this once: it stands behind all that a later question begins with
	Images  []Image      `json:"-"` // by the user, beside the text; for models that take them
	Calls   []ToolCall   `json:"calls,omitempty"`
	Results []ToolResult `json:"results,omitempty"`
}

// Image is a picture that the user sent.
type Image struct {
	MediaType string // "image/jpeg", "image/png", "image/gif" or "image/webp"
	Data      []byte // the file as it is
}

// ToolSpec describes a tool to the model. Schema is JSON Schema.
type ToolSpec struct {
	Name        string
	Description string
	Schema      json.RawMessage
}

// ToolCall is a model's wish to use a tool.
type ToolCall struct {
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// ToolResult answers a ToolCall.
type ToolResult struct {
	CallID string `json:"call_id"`
	Text   string `json:"text"`
	Failed bool   `json:"failed,omitempty"`
}

// Response is a model's answer: text, or tool calls that want results first.
type Response struct {
	Text  string
	Calls []ToolCall
	Model string // that answered
	Aside bool   // says nothing that a later question should come with
	Usage bus.Usage
	Guess bool // Usage is estimated: nobody has counted
}

// EstimateTokens is the plain guess from a size alone: four bytes to a token, rounded
// up. Who has the text asks [Tokens].
func EstimateTokens(n int) int64 { return int64(n+3) / 4 }

// Around a message and a tool stand some tokens of the vendor's own.
const (
	aroundMessage = 4
	aroundTool    = 12
	imageTokens   = imageBytes / 4
)

// Tokens estimates the request's input for its model; [Meter] corrects it.
func (r Request) Tokens() int64 {
	n := Tokens(r.Model, r.System)
	for _, m := range r.Messages {
		n += m.Tokens(r.Model)
	}
	for _, t := range r.Tools {
		n += aroundTool + Tokens(r.Model, t.Name) + Tokens(r.Model, t.Description) + Tokens(r.Model, string(t.Schema))
	}
	return n
}

// Tokens is the message's part of [Request.Tokens].
func (m Message) Tokens(model string) int64 {
	n := aroundMessage + Tokens(model, m.Text) + Tokens(model, m.Notes) + int64(len(m.Images))*imageTokens
	for _, c := range m.Calls {
		n += aroundMessage + Tokens(model, c.Name) + Tokens(model, string(c.Input))
	}
	for _, res := range m.Results {
		n += aroundMessage + Tokens(model, res.Text)
	}
	return n
}

// Size is the request's input in bytes: what a provider would charge for.
func (r Request) Size() int {
	n := len(r.System)
	for _, m := range r.Messages {
		n += m.Size()
	}
	for _, t := range r.Tools {
		n += len(t.Name) + len(t.Description) + len(t.Schema)
	}
	return n
}

// imageBytes is what an image counts as in [Request.Size]: some 1600 tokens, the
// most that vendors charge for one that they have not scaled up.
const imageBytes = 6400

// Size is the message's part of Request.Size.
func (m Message) Size() int {
	n := len(m.Text) + len(m.Notes) + len(m.Images)*imageBytes
	for _, c := range m.Calls {
		n += len(c.Name) + len(c.Input)
	}
	for _, r := range m.Results {
		n += len(r.Text)
	}
	return n
}
