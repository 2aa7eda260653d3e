// SPDX-License-Identifier: MIT OR Apache-2.0

package llmtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
)

// End is how a stream ends.
type End int

const (
	Whole   End = iota // with [DONE]
	NoDone             // without [DONE], the connection closed in good order
	Cut                // the connection breaks before the answer is finished
	CutLate            // it breaks between the finished answer and [DONE]
	Stall              // nothing more comes, before the answer is finished
)

// Usage is what the server says it counted. Prompt includes Cached.
type Usage struct{ Prompt, Cached, Completion int64 }

// Call is a function and its arguments, JSON in a text.
type Call struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// Answer is one answer of the script.
type Answer struct {
	Status int         // 0 is 200
	Header http.Header // added to the answer's
	Code   string      // of the error; with a Status of 200 the error is within the stream
	Error  string      // message of the error

	Text    []string // the pieces it is streamed in
	Refusal string
	Calls   []Call // their ids are call_a, call_b, …
	Finish  string // "" is "stop", or "tool_calls" where there are
	Usage   *Usage // nil: nothing is counted
	End     End

	Type string // media type; "" is the right one
	Raw  string // body to send as it is, instead of all the above but Status and Header
}

// Says answers with text, streamed in these pieces, and counts 100 tokens for the
// question and 10 for the answer.
func Says(pieces ...string) Answer {
	return Answer{Text: pieces, Usage: &Usage{Prompt: 100, Completion: 10}}
}

// Uses calls tools: their arguments are streamed in pieces. It counts like Says.
func Uses(calls ...Call) Answer {
	return Answer{Calls: calls, Usage: &Usage{Prompt: 100, Completion: 10}}
}

// Fails answers with a status and an error.
func Fails(status int, code, message string) Answer {
	return Answer{Status: status, Code: code, Error: message}
}

// Limited answers with 429 and asks to wait; retryAfter "" says nothing of how long.
func Limited(retryAfter string) Answer {
	a := Fails(http.StatusTooManyRequests, "rate_limit_exceeded", "Rate limit reached for requests")
	if retryAfter != "" {
		a.Header = http.Header{"Retry-After": {retryAfter}}
	}
	return a
}

// write sends the answer.
func (a Answer) write(w http.ResponseWriter, r *http.Request, model string, stop <-chan struct{}) {
	for name := range a.Header {
		w.Header().Set(name, a.Header.Get(name))
	}
	streamed := a.Status == 0 || a.Status == http.StatusOK
	kind := a.Type
	if kind == "" && streamed {
		kind = "text/event-stream; charset=utf-8"
	} else if kind == "" {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	switch {
	case a.Raw != "":
		_, _ = io.WriteString(w, a.Raw)
		a.end(w, r, stop)
	case !streamed:
		_ = json.NewEncoder(w).Encode(a.failure())
	default:
		s := stream{w: w, model: model}
		s.answer(a, func() { a.end(w, r, stop) })
	}
}

func (a Answer) failure() map[string]any {
	var code any
	if a.Code != "" {
		code = a.Code
	}
	return map[string]any{"error": map[string]any{"message": a.Error, "type": "invalid_request_error", "param": nil, "code": code}}
}

// end ends the connection as the script says.
func (a Answer) end(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	flush(w)
	switch a.End {
	case Cut, CutLate:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	case Stall:
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// count counts connections.
func (o *OpenAI) count(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		o.mu.Lock()
		o.conns++
		o.mu.Unlock()
	}
}

// stream writes frames.
type stream struct {
	w     http.ResponseWriter
	model string
}

func (s stream) frame(fields map[string]any) {
	fields["id"], fields["object"], fields["created"] = "chatcmpl-1", "chat.completion.chunk", 1760000000
	fields["model"], fields["system_fingerprint"] = s.model, "fp_1"
	data, err := json.Marshal(fields)
	if err != nil {
		panic(err) // a script's fault
	}
	_, _ = fmt.Fprintf(s.w, "data: %s\n\n", data)
	flush(s.w)
}

func (s stream) delta(delta map[string]any, finish any) {
	s.frame(map[string]any{"usage": nil, "choices": []any{map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}}})
}

// answer streams a; broken ends the connection where a says so.
func (s stream) answer(a Answer, broken func()) {
	if a.Error == "" || len(a.Text) > 0 {
		s.delta(map[string]any{"role": "assistant", "content": "", "refusal": nil}, nil)
	}
	for _, piece := range a.Text {
		s.delta(map[string]any{"content": piece}, nil)
	}
	if a.Refusal != "" {
		s.delta(map[string]any{"refusal": a.Refusal}, nil)
	}
	for i, c := range a.Calls {
		s.call(i, c)
	}
	if a.Error != "" {
		s.frame(a.failure())
		return
	}
	if a.End == Cut || a.End == Stall {
		broken()
		return
	}
	finish := a.Finish
	if finish == "" && len(a.Calls) > 0 {
		finish = "tool_calls"
	} else if finish == "" {
		finish = "stop"
	}
	s.delta(map[string]any{}, finish)
	if a.End == CutLate {
		broken()
		return
	}
	if u := a.Usage; u != nil {
		s.frame(map[string]any{"choices": []any{}, "usage": map[string]any{"prompt_tokens": u.Prompt, "completion_tokens": u.Completion,
			"total_tokens": u.Prompt + u.Completion, "prompt_tokens_details": map[string]any{"cached_tokens": u.Cached}}})
	}
	if a.End != NoDone {
		_, _ = io.WriteString(s.w, "data: [DONE]\n\n")
		flush(s.w) // the end of the body comes after it, as from a real server
	}
}

// call streams a tool call: first its name, then its arguments in small pieces.
func (s stream) call(i int, c Call) {
	s.delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "id": "call_" + string(rune('a'+i)), "type": "function",
		"function": map[string]any{"name": c.Name, "arguments": ""}}}}, nil)
	for piece := range slices.Chunk([]rune(c.Arguments), 5) {
		s.delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "function": map[string]any{"arguments": string(piece)}}}}, nil)
	}
}
