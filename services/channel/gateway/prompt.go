// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// prompt is a chat completion request as far as it has an effect here.
type prompt struct {
	Model         string          `json:"model"`
	Messages      json.RawMessage `json:"messages"`
	Stream        bool            `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	User string `json:"user"`

	// What would make another answer than the agent gives is refused.
	N              *int            `json:"n"`
	Tools          json.RawMessage `json:"tools"`
	Functions      json.RawMessage `json:"functions"`
	Modalities     json.RawMessage `json:"modalities"`
	Audio          json.RawMessage `json:"audio"`
	WebSearch      json.RawMessage `json:"web_search_options"`
	Logprobs       bool            `json:"logprobs"`
	Stop           json.RawMessage `json:"stop"`
	ResponseFormat struct {
		Type string `json:"type"`
	} `json:"response_format"`

	messages []chatMessage // what Messages says
}

// chatMessage is one message of the client's transcript.
type chatMessage struct{ role, text string }

// wireMessage is a message as the client sends it.
type wireMessage struct {
	Role         string          `json:"role"`
	Content      json.RawMessage `json:"content"` // a string, or parts
	ToolCalls    json.RawMessage `json:"tool_calls"`
	FunctionCall json.RawMessage `json:"function_call"`
}

// maxElements bounds the messages of a request, and the parts of a message. An
// element takes more memory than the two bytes it can be written in.
const maxElements = 2048

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
	format := p.ResponseFormat.Type
	for _, c := range []struct {
		param, why string
		asked      bool
	}{
		{"n", "there is one answer", p.N != nil && *p.N != 1},
		{"tools", "the agent has tools of its own", set(p.Tools)},
		{"functions", "the agent has tools of its own", set(p.Functions)},
		{"response_format", "the agent answers in text", format != "" && format != "text"},
		{"modalities", "the agent answers in text", set(p.Modalities) && compact(p.Modalities) != `["text"]`},
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

// set reports whether a member says anything.
func set(raw json.RawMessage) bool {
	return !slices.Contains([]string{"", "null", "[]", `""`}, compact(raw))
}

// compact is a value without space between its tokens, if it is short.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || len(raw) > 64 || json.Compact(&b, raw) != nil {
		return string(raw[:min(64, len(raw))])
	}
	return b.String()
}

func unsupported(param, format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "unsupported_parameter", param: param,
		message: fmt.Sprintf(format, args...), hint: "leave it out"}
}

// readMessages finds the text of every message and that there is one to answer.
func (p *prompt) readMessages() error {
	if set(p.Messages) {
		err := eachElement(p.Messages, "messages", func(dec *json.Decoder, at string) error {
			var w wireMessage
			if err := dec.Decode(&w); err != nil {
				return mistyped(err, at)
			}
			text, err := w.read(at)
			p.messages = append(p.messages, chatMessage{w.Role, text})
			return err
		})
		if err != nil {
			return err
		}
	}
	blame := func(format string, args ...any) error {
		e := invalid(`send {"messages":[{"role":"user","content":"hello"}]}`, format, args...)
		e.param = "messages"
		return e
	}
	switch n := len(p.messages); {
	case n == 0:
		return blame("there are no messages")
	case p.messages[n-1].role != roleUser:
		return blame("the last message is not the user's")
	case strings.TrimSpace(p.question()) == "":
		return blame("the user's message is empty")
	}
	return nil
}

// eachElement lets read decode the elements of a JSON array one after another, and
// stops at the first error. at names the array, and with its number an element.
func eachElement(array json.RawMessage, at string, read func(dec *json.Decoder, at string) error) error {
	blame := func(hint, why string) error {
		e := invalid(hint, "%s %s", at, why)
		e.param = at
		return e
	}
	dec := json.NewDecoder(bytes.NewReader(array))
	if open, err := dec.Token(); err != nil || open != json.Delim('[') {
		return blame("", "is not an array")
	}
	for i := 0; dec.More(); i++ {
		if i == maxElements {
			return blame("send the latest", fmt.Sprintf("has more than %d elements", maxElements))
		}
		if err := read(dec, fmt.Sprintf("%s[%d]", at, i)); err != nil {
			return err
		}
	}
	return nil
}

// mistyped is a value of another type than the one wanted at at.
func mistyped(err error, at string) error {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		return fmt.Errorf("decode %s: %w", at, err) // it was valid JSON
	}
	if kind.Field != "" {
		at += "." + kind.Field
	}
	e := invalid("", "%s is a %s", at, kind.Value)
	e.param = at
	return e
}

// read returns the text of a message that has no more than text.
func (w wireMessage) read(at string) (string, error) {
	switch w.Role {
	case roleSystem, roleDeveloper, roleUser, roleAssistant:
	case "tool", "function":
		return "", unsupported(at+".role", "%s.role is %q: the agent has tools of its own", at, w.Role)
	default:
		e := invalid("use system, developer, user or assistant", "%s.role is %q", at, shorten(w.Role))
		e.param = at + ".role"
		return "", e
	}
	if set(w.ToolCalls) {
		return "", unsupported(at+".tool_calls", "%s.tool_calls is not supported: the agent has tools of its own", at)
	}
	if set(w.FunctionCall) {
		return "", unsupported(at+".function_call", "%s.function_call is not supported: the agent has tools of its own", at)
	}
	return w.readContent(at + ".content")
}

func (w wireMessage) readContent(at string) (string, error) {
	var text string
	switch {
	case !set(w.Content):
		return "", nil
	case w.Content[0] == '"':
		return text, json.Unmarshal(w.Content, &text)
	case w.Content[0] != '[':
		e := invalid("", "%s is neither a string nor an array of parts", at)
		e.param = at
		return "", e
	}
	var texts []string
	err := eachElement(w.Content, at, func(dec *json.Decoder, at string) error {
		var part struct{ Type, Text string }
		if err := dec.Decode(&part); err != nil {
			return mistyped(err, at)
		}
		if part.Type != "text" {
			return unsupported(at+".type", "%s.type is %q: only text is read", at, shorten(part.Type))
		}
		texts = append(texts, part.Text)
		return nil
	})
	return strings.Join(texts, "\n"), err
}

// split returns the messages the agent is to answer, those of the user behind
// the last of anyone else, and the ones before.
func (p *prompt) split() (earlier, asked []chatMessage) {
	at := len(p.messages)
	for at > 0 && p.messages[at-1].role == roleUser {
		at--
	}
	return p.messages[:at], p.messages[at:]
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
	keep := func(i int) (fits bool) {
		entry := "[" + earlier[i].role + "]\n" + earlier[i].text + "\n\n"
		if fits = len(entry) <= left; fits {
			entries[i] = entry
			left -= len(entry)
		}
		return fits
	}
	instructs := func(i int) bool { return earlier[i].role == roleSystem || earlier[i].role == roleDeveloper }
	for i := range earlier {
		if instructs(i) {
			keep(i)
		}
	}
	for i := len(earlier) - 1; i >= 0; i-- {
		if !instructs(i) && !keep(i) {
			break // what is before it would stand without what came between
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
