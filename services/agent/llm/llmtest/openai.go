// SPDX-License-Identifier: MIT OR Apache-2.0

// Package llmtest is a server that speaks a vendor's real wire, for tests of
// whatever asks a model. Nothing in it thinks: it answers from a script.
//
//	fake := llmtest.NewOpenAI(t)
//	fake.Script(llmtest.Limited("2"), llmtest.Says("Hello."))
//	cfg.BaseURL = fake.URL()
//	…
//	fake.Requests() // what was asked
//
// The format is that of "Chat Completions" in OpenAI's API reference
// (https://platform.openai.com/docs/api-reference/chat): frames of
// "chat.completion.chunk", a last one with the usage and without choices, then
// "data: [DONE]"; errors as {"error":{message,type,param,code}}. A question that
// the vendor would refuse is refused: a field it does not know, a tool's result
// that nothing asked for, a wrong key.
package llmtest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// OpenAI is the server. Its methods may be called from many goroutines.
type OpenAI struct {
	server *httptest.Server
	stop   chan struct{} // closed at the end of the test: stalled answers end

	mu       sync.Mutex
	key      string
	script   []Answer
	always   Answer
	requests []Request
	conns    int
}

// NewOpenAI starts a server that lives until the end of the test. Without a
// script it says "ok".
func NewOpenAI(t testing.TB) *OpenAI {
	o := &OpenAI{stop: make(chan struct{}), always: Says("ok")}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", o.answer)
	o.server = httptest.NewUnstartedServer(mux)
	o.server.Config.ConnState = o.count
	o.server.Start()
	t.Cleanup(func() {
		close(o.stop)
		o.server.Close()
	})
	return o
}

// URL is the base URL: http://127.0.0.1:…/v1.
func (o *OpenAI) URL() string { return o.server.URL + "/v1" }

// RequireKey refuses, from now on, every question without this API key.
func (o *OpenAI) RequireKey(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.key = key
}

// Script appends answers, given in turn, one for each question.
func (o *OpenAI) Script(answers ...Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.script = append(o.script, answers...)
}

// Always sets the answer when the script is over.
func (o *OpenAI) Always(a Answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.always = a
}

// Requests returns the questions so far, oldest first, refused ones included.
func (o *OpenAI) Requests() []Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Request(nil), o.requests...)
}

// Connections returns how many connections there have been.
func (o *OpenAI) Connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conns
}

// Die stops the server: connections to it are refused.
func (o *OpenAI) Die() {
	o.server.CloseClientConnections()
	_ = o.server.Listener.Close() // the cleanup closes it again
}

// Request is one question as it arrived.
type Request struct {
	Header              http.Header     `json:"-"`
	Model               string          `json:"model"`
	Messages            []Message       `json:"messages"`
	ToolChoice          string          `json:"tool_choice"`
	Tools               []Tool          `json:"tools"`
	Stream              bool            `json:"stream"`
	StreamOptions       map[string]bool `json:"stream_options"`
	MaxTokens           *int64          `json:"max_tokens"`
	MaxCompletionTokens *int64          `json:"max_completion_tokens"`
}

// Message is one of a question's messages. Content is nil where it was null.
type Message struct {
	Role       string     `json:"role"`
	Content    *string    `json:"content"`
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
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
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<20))
	d.DisallowUnknownFields()
	err := d.Decode(&req)
	req.Header = r.Header.Clone()
	a, key := o.next(req)
	switch {
	case key != "" && r.Header.Get("Authorization") != "Bearer "+key:
		// The vendor repeats the key's first and last letters.
		a = Fails(http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided: "+r.Header.Get("Authorization"))
	case err != nil:
		a = Fails(http.StatusBadRequest, "", "Unrecognized request argument: "+err.Error())
	case req.fault() != "":
		a = Fails(http.StatusBadRequest, "", req.fault())
	}
	a.write(w, r, cmp.Or(req.Model, "none"), o.stop)
}

// next notes the question and returns the answer to it.
func (o *OpenAI) next(req Request) (Answer, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, req)
	if len(o.script) == 0 {
		return o.always, o.key
	}
	a := o.script[0]
	o.script = o.script[1:]
	return a, o.key
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
		case !strings.Contains("system user assistant tool", m.Role) || m.Content == nil && len(m.ToolCalls) == 0:
			return "invalid message"
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
