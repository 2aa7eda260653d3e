// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// openAIFailure is OpenAI's form of an error.
func (a Answer) openAIFailure() map[string]any {
	var code any
	if a.Code != "" {
		code = a.Code
	}
	return map[string]any{"error": map[string]any{"message": a.Error, "type": "invalid_request_error", "param": nil, "code": code}}
}

// chunks writes OpenAI's frames.
type chunks struct {
	w     http.ResponseWriter
	model string
}

func (s chunks) frame(fields map[string]any) {
	fields["id"], fields["object"], fields["created"] = "chatcmpl-1", "chat.completion.chunk", 1760000000
	fields["model"], fields["system_fingerprint"] = s.model, "fp_1"
	data, err := json.Marshal(fields)
	if err != nil {
		panic(err) // a script's fault
	}
	_, _ = fmt.Fprintf(s.w, "data: %s\n\n", data)
	flush(s.w)
}

func (s chunks) delta(delta map[string]any, finish any) {
	s.frame(map[string]any{"usage": nil, "choices": []any{map[string]any{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}}})
}

// answer streams a; broken ends the connection where a says so.
func (s chunks) answer(a Answer, broken func()) {
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
		s.frame(a.openAIFailure())
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
func (s chunks) call(i int, c Call) {
	s.delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "id": "call_" + string(rune('a'+i)), "type": "function",
		"function": map[string]any{"name": c.Name, "arguments": ""}}}}, nil)
	for piece := range slices.Chunk([]rune(c.Arguments), 5) {
		s.delta(map[string]any{"tool_calls": []any{map[string]any{"index": i, "function": map[string]any{"arguments": string(piece)}}}}, nil)
	}
}
