// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// errorTypes are Anthropic's, by the status they come with.
var errorTypes = map[int]string{400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
	404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error"}

// anthropicFailure is Anthropic's form of an error. A Code that is none of its
// types gives way to what the status says.
func (a Answer) anthropicFailure() map[string]any {
	kind, known := errorTypes[a.Status]
	if !known {
		kind = "api_error"
	}
	for _, t := range errorTypes {
		if a.Code == t {
			kind = t
		}
	}
	return map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": a.Error}, "request_id": "req_1"}
}

// events writes Anthropic's frames.
type events struct {
	w      http.ResponseWriter
	model  string
	number int // of the answer
}

func (e events) event(name string, fields map[string]any) {
	fields["type"] = name
	data, err := json.Marshal(fields)
	if err != nil {
		panic(err) // a script's fault
	}
	_, _ = fmt.Fprintf(e.w, "event: %s\ndata: %s\n\n", name, data)
	flush(e.w)
}

// answer streams a; broken ends the connection where a says so.
func (e events) answer(a Answer, broken func()) {
	if a.begun() {
		e.begin(a.Usage)
		e.content(a)
	}
	if a.Error != "" {
		e.event("error", a.anthropicFailure())
		return
	}
	if !a.finished() {
		broken()
		return
	}
	finish, details := a.Finish, any(nil)
	switch {
	case finish != "":
	case a.Refusal != "":
		finish, details = "refusal", map[string]any{"type": "refusal", "category": nil, "explanation": a.Refusal}
	case len(a.Calls) > 0:
		finish = "tool_use"
	default:
		finish = "end_turn"
	}
	e.event("message_delta", map[string]any{"delta": map[string]any{"stop_reason": finish, "stop_sequence": nil, "stop_details": details},
		"usage": usageFields(a.Usage, a.Usage.Completion)})
	if a.End == CutLate {
		broken()
		return
	}
	if a.End != NoDone {
		e.event("message_stop", map[string]any{})
	}
}

func (e events) begin(u *Usage) {
	usage := usageFields(u, 1)
	usage["cache_creation"] = map[string]any{"ephemeral_5m_input_tokens": u.Written, "ephemeral_1h_input_tokens": 0}
	usage["service_tier"] = "standard"
	e.event("message_start", map[string]any{"message": map[string]any{"id": fmt.Sprintf("msg_%d", e.number), "type": "message", "role": "assistant",
		"model": e.model, "content": []any{}, "stop_reason": nil, "stop_sequence": nil, "usage": usage}})
	e.event("ping", map[string]any{})
}

func usageFields(u *Usage, output int64) map[string]any {
	return map[string]any{"input_tokens": u.Prompt - u.Cached - u.Written, "cache_creation_input_tokens": u.Written,
		"cache_read_input_tokens": u.Cached, "output_tokens": output}
}

// content streams the blocks: thoughts, text, tool calls.
func (e events) content(a Answer) {
	index := 0
	if len(a.Thinking) > 0 {
		deltas := append(each("thinking_delta", "thinking", a.Thinking), map[string]any{"type": "signature_delta", "signature": "c2lnbmVk"})
		e.block(index, map[string]any{"type": "thinking", "thinking": "", "signature": ""}, deltas, true)
		index++
	}
	if len(a.Text) > 0 {
		e.block(index, map[string]any{"type": "text", "text": ""}, each("text_delta", "text", a.Text), a.finished() || len(a.Calls) > 0)
		index++
	}
	for i, c := range a.Calls {
		id := fmt.Sprintf("toolu_%d%c", e.number, 'a'+i)
		pieces := []string{""}
		for piece := range slices.Chunk([]rune(c.Arguments), 5) {
			pieces = append(pieces, string(piece))
		}
		e.block(index, map[string]any{"type": "tool_use", "id": id, "name": c.Name, "input": map[string]any{}},
			each("input_json_delta", "partial_json", pieces), a.finished() || i+1 < len(a.Calls))
		index++
	}
}

func each(kind, field string, pieces []string) []map[string]any {
	var out []map[string]any
	for _, p := range pieces {
		out = append(out, map[string]any{"type": kind, field: p})
	}
	return out
}

// block streams one block; what breaks off within it is not stopped.
func (e events) block(index int, start map[string]any, deltas []map[string]any, stops bool) {
	e.event("content_block_start", map[string]any{"index": index, "content_block": start})
	for _, d := range deltas {
		e.event("content_block_delta", map[string]any{"index": index, "delta": d})
	}
	if stops {
		e.event("content_block_stop", map[string]any{"index": index})
	}
}
