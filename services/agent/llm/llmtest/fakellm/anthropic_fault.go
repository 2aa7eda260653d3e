// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const maxMarks = 4

var identifier = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// fault is what the vendor would refuse the question for, "" for nothing.
func (r AnthropicRequest) fault() string {
	switch {
	case r.Model == "":
		return "model: Field required"
	case r.MaxTokens == nil:
		return "max_tokens: Field required"
	case *r.MaxTokens < 1:
		return "max_tokens: must be greater than or equal to 1"
	case len(r.Messages) == 0:
		return "messages: at least one message is required"
	case r.Messages[0].Role != "user" || r.Messages[len(r.Messages)-1].Role != "user":
		return "messages: the first and the last must use the \"user\" role"
	}
	if c := r.ToolChoice; c != nil && (len(r.Tools) == 0 || !slices.Contains([]string{"auto", "any", "none"}, c.Type)) {
		return "tool_choice: it needs tools and a known type"
	}
	marks := 0
	for i, t := range r.Tools {
		var schema struct {
			Type string `json:"type"`
		}
		if !identifier.MatchString(t.Name) || json.Unmarshal(t.InputSchema, &schema) != nil || schema.Type != "object" {
			return fmt.Sprintf("tools.%d: invalid name or input_schema", i)
		}
		marks += mark(t.CacheControl)
	}
	for i, b := range r.System {
		if fault := b.fault("system"); fault != "" {
			return fmt.Sprintf("system.%d: %s", i, fault)
		}
		marks += mark(b.CacheControl)
	}
	for i, m := range r.Messages {
		if fault := m.fault(); fault != "" {
			return fmt.Sprintf("messages.%d: %s", i, fault)
		}
		for _, b := range m.Content {
			marks += mark(b.CacheControl)
		}
	}
	if marks > maxMarks {
		return fmt.Sprintf("A maximum of %d blocks with cache_control may be provided. Found %d.", maxMarks, marks)
	}
	return r.unpaired()
}

func mark(c *CacheControl) int {
	if c == nil {
		return 0
	}
	return 1
}

func (m AnthropicMessage) fault() string {
	if m.Role != "user" && m.Role != "assistant" {
		return "unexpected role"
	}
	if len(m.Content) == 0 {
		return "all messages must have non-empty content"
	}
	for i, b := range m.Content {
		if fault := b.fault(m.Role); fault != "" {
			return fmt.Sprintf("content.%d: %s", i, fault)
		}
	}
	return ""
}

// fault of a block in a message of this role, or in the system prompt.
func (b Block) fault(role string) string {
	if b.CacheControl != nil && b.CacheControl.Type != "ephemeral" {
		return "cache_control: unknown type"
	}
	kind := b.Type + " by " + role
	switch kind {
	case "text by system", "text by user", "text by assistant":
		if strings.TrimSpace(b.Text) == "" {
			return "text content blocks must contain non-whitespace text"
		}
	case "image by user":
		if b.Source == nil || b.Source.Type != "base64" || len(b.Source.Data) == 0 ||
			!slices.Contains([]string{"image/jpeg", "image/png", "image/gif", "image/webp"}, b.Source.MediaType) {
			return "image: invalid source"
		}
	case "tool_use by assistant":
		var object map[string]any
		if !identifier.MatchString(b.ID) || !identifier.MatchString(b.Name) || json.Unmarshal(b.Input, &object) != nil || object == nil {
			return "tool_use: invalid id, name or input"
		}
	case "tool_result by user":
		if b.IsError && b.Content == "" {
			return "tool_result: content cannot be empty if `is_error` is true"
		}
	default:
		return "unexpected " + kind
	}
	return ""
}

// unpaired finds tool calls and results that do not belong together: results
// begin the very next message, one for each call.
func (r AnthropicRequest) unpaired() string {
	open, used := map[string]bool{}, map[string]bool{}
	for i, m := range r.Messages {
		called, other := map[string]bool{}, false
		for _, b := range m.Content {
			switch {
			case b.Type == "tool_result" && (!open[b.ToolUseID] || other):
				return fmt.Sprintf("messages.%d: unexpected `tool_use_id` found in `tool_result` blocks: %s. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", i, b.ToolUseID)
			case b.Type == "tool_result":
				delete(open, b.ToolUseID)
				continue
			case b.Type == "tool_use" && used[b.ID]:
				return fmt.Sprintf("messages.%d: `tool_use` ids must be unique", i)
			case b.Type == "tool_use":
				called[b.ID], used[b.ID] = true, true
			}
			other = true
		}
		if len(open) > 0 {
			return fmt.Sprintf("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after", i-1)
		}
		open = called
	}
	return "" // the last one is the user's
}
