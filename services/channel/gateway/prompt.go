// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// prompt is a chat completion request as far as it has an effect here.
type prompt struct {
	Model         string        `json:"model"`
	Messages      []chatMessage `json:"messages"`
	Stream        bool          `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	User string `json:"user"`

	// What would make another answer than the agent gives is refused.
	N              *int              `json:"n"`
	Tools          []json.RawMessage `json:"tools"`
	Functions      []json.RawMessage `json:"functions"`
	Modalities     []string          `json:"modalities"`
	Audio          json.RawMessage   `json:"audio"`
	WebSearch      json.RawMessage   `json:"web_search_options"`
	Logprobs       bool              `json:"logprobs"`
	Stop           json.RawMessage   `json:"stop"`
	ResponseFormat struct {
		Type string `json:"type"`
	} `json:"response_format"`
}

// chatMessage is one message of the client's transcript.
type chatMessage struct {
	Role         string            `json:"role"`
	Content      json.RawMessage   `json:"content"` // a string, or parts
	ToolCalls    []json.RawMessage `json:"tool_calls"`
	FunctionCall json.RawMessage   `json:"function_call"`
	text         string
}

// Roles of a transcript.
const (
	roleSystem    = "system"
	roleDeveloper = "developer"
	roleUser      = "user"
	roleAssistant = "assistant"
)

// decodePrompt reads a request, or returns a [*refusal] that names the member to
// blame. Members it does not know are ignored, as clients send many.
func decodePrompt(data []byte) (*prompt, error) {
	if at := invalidUTF8(data); at >= 0 {
		return nil, malformed(data, int64(at), "the body is not valid UTF-8")
	}
	var p *prompt
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(data, &p); {
	case errors.As(err, &kind):
		e := malformed(data, kind.Offset, fmt.Sprintf("%s is a %s", whole(kind.Field), kind.Value))
		e.param = kind.Field
		return nil, e
	case errors.As(err, &syntax):
		return nil, malformed(data, syntax.Offset-1, "the body is not JSON: "+syntax.Error())
	case err != nil:
		return nil, malformed(data, 0, "the body cannot be read: "+err.Error())
	case p == nil:
		return nil, malformed(data, 0, "the body is not a JSON object")
	}
	if err := p.supported(); err != nil {
		return nil, err
	}
	return p, p.readMessages()
}

func whole(field string) string {
	if field == "" {
		return "the body"
	}
	return "the member " + field
}

// supported refuses what would be ignored to the client's surprise.
func (p *prompt) supported() error {
	set := func(raw json.RawMessage) bool {
		return len(raw) > 0 && !slices.Contains([]string{"null", "[]", `""`}, string(raw))
	}
	format := p.ResponseFormat.Type
	for _, c := range []struct {
		param, why string
		asked      bool
	}{
		{"n", "there is one answer", p.N != nil && *p.N != 1},
		{"tools", "the agent has tools of its own", len(p.Tools) > 0},
		{"functions", "the agent has tools of its own", len(p.Functions) > 0},
		{"response_format", "the agent answers in text", format != "" && format != "text"},
		{"modalities", "the agent answers in text", slices.ContainsFunc(p.Modalities, func(m string) bool { return m != "text" })},
		{"audio", "the agent answers in text", set(p.Audio)},
		{"web_search_options", "the agent has tools of its own", set(p.WebSearch)},
		{"logprobs", "the agent has none to tell", p.Logprobs},
		{"stop", "the agent ends its answers itself", set(p.Stop)},
	} {
		if c.asked {
			return unsupported(c.param, "%s is not supported: %s", c.param, c.why)
		}
	}
	return knownModel(p.Model)
}

func unsupported(param, format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "unsupported_parameter", param: param,
		message: fmt.Sprintf(format, args...), hint: "leave it out"}
}

// readMessages finds the text of every message and that there is one to answer.
func (p *prompt) readMessages() error {
	for i := range p.Messages {
		if err := p.Messages[i].read(fmt.Sprintf("messages[%d]", i)); err != nil {
			return err
		}
	}
	blame := func(format string, args ...any) error {
		e := invalid(`send {"messages":[{"role":"user","content":"hello"}]}`, format, args...)
		e.param = "messages"
		return e
	}
	switch n := len(p.Messages); {
	case n == 0:
		return blame("there are no messages")
	case p.Messages[n-1].Role != roleUser:
		return blame("the last message is not the user's")
	case strings.TrimSpace(p.question()) == "":
		return blame("the user's message is empty")
	}
	return nil
}

func (m *chatMessage) read(at string) error {
	switch m.Role {
	case roleSystem, roleDeveloper, roleUser, roleAssistant:
	case "tool", "function":
		return unsupported(at+".role", "%s.role is %q: the agent has tools of its own", at, m.Role)
	default:
		e := invalid("use system, developer, user or assistant", "%s.role is %q", at, shorten(m.Role))
		e.param = at + ".role"
		return e
	}
	if len(m.ToolCalls) > 0 {
		return unsupported(at+".tool_calls", "%s.tool_calls is not supported: the agent has tools of its own", at)
	}
	if len(m.FunctionCall) > 0 && string(m.FunctionCall) != "null" {
		return unsupported(at+".function_call", "%s.function_call is not supported: the agent has tools of its own", at)
	}
	return m.readContent(at + ".content")
}

func (m *chatMessage) readContent(at string) error {
	if len(m.Content) == 0 || string(m.Content) == "null" || json.Unmarshal(m.Content, &m.text) == nil {
		return nil
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(m.Content, &parts); err != nil {
		e := invalid("", "%s is neither a string nor an array of parts", at)
		e.param = at
		return e
	}
	var texts []string
	for i, part := range parts {
		if part.Type != "text" {
			param := fmt.Sprintf("%s[%d].type", at, i)
			return unsupported(param, "%s is %q: only text is read", param, shorten(part.Type))
		}
		texts = append(texts, part.Text)
	}
	m.text = strings.Join(texts, "\n")
	return nil
}

// split returns the messages the agent is to answer, those of the user behind
// the last of anyone else, and the ones before.
func (p *prompt) split() (earlier, asked []chatMessage) {
	at := len(p.Messages)
	for at > 0 && p.Messages[at-1].Role == roleUser {
		at--
	}
	return p.Messages[:at], p.Messages[at:]
}

// question is what the agent is to answer.
func (p *prompt) question() string {
	_, asked := p.split()
	texts := make([]string, len(asked))
	for i, m := range asked {
		texts[i] = m.text
	}
	return strings.Join(texts, "\n\n")
}

// maxTranscript bounds, in bytes, a question with the transcript before it, well
// within agent.max_text_bytes as it comes.
const maxTranscript = 48 << 10

// transcript is the question for an agent that has not seen what came before:
// that goes along as text, instructions first to be kept and then the latest.
func (p *prompt) transcript() string {
	question := p.question()
	earlier, _ := p.split()
	entries, left := make([]string, len(earlier)), maxTranscript-len(question)
	keep := func(i int) {
		entry := "[" + earlier[i].Role + "]\n" + earlier[i].text + "\n\n"
		if left -= len(entry); left >= 0 {
			entries[i] = entry
		}
	}
	instructs := func(i int) bool { return earlier[i].Role == roleSystem || earlier[i].Role == roleDeveloper }
	for i := range earlier {
		if instructs(i) {
			keep(i)
		}
	}
	for i := len(earlier) - 1; i >= 0; i-- {
		if !instructs(i) {
			keep(i)
		}
	}
	missing := 0
	for _, e := range entries {
		if e == "" {
			missing++
		}
	}
	var b strings.Builder
	if len(earlier) > 0 {
		b.WriteString("What came before in this conversation, as the client tells it:\n\n")
		if missing > 0 {
			fmt.Fprintf(&b, "(%d messages are left out, they are too long)\n\n", missing)
		}
		b.WriteString(strings.Join(entries, "") + "What is asked now:\n\n")
	}
	return b.String() + question
}
