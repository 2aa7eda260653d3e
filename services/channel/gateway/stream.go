// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/blufio/blufio/bus"
)

// sse is an answer in server-sent events. Its head goes with the first event.
type sse struct {
	w     http.ResponseWriter
	limit time.Duration // for a client to take one event
}

func (f *front) openSSE(w http.ResponseWriter) *sse {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not keep events back
	return &sse{w: w, limit: f.cfg.WriteTimeout}
}

// event sends one event; name and id may be empty. An error means that the
// client has gone or does not take the event: the answer is cut off there.
func (s *sse) event(name, id string, data []byte) error {
	var buf bytes.Buffer
	if id != "" {
		fmt.Fprintf(&buf, "id: %s\n", id)
	}
	if name != "" {
		fmt.Fprintf(&buf, "event: %s\n", name)
	}
	buf.WriteString("data: ")
	for _, c := range data {
		if c == '\n' || c == '\r' {
			c = ' ' // between tokens of JSON, where else none stands
		}
		buf.WriteByte(c)
	}
	buf.WriteString("\n\n")
	return s.send(buf.Bytes())
}

// comment sends a line that clients skip.
func (s *sse) comment(text string) error { return s.send([]byte(": " + text + "\n\n")) }

func (s *sse) send(data []byte) error {
	control := http.NewResponseController(s.w)
	// Where the connection knows no deadlines, the server's own holds.
	_ = control.SetWriteDeadline(time.Now().Add(s.limit))
	_, err := s.w.Write(data)
	if err == nil {
		err = control.Flush()
	}
	if err != nil {
		return fmt.Errorf("send event: %w: %w", context.Canceled, err)
	}
	return nil
}

// completionBody is a chat completion, whole or one chunk of it.
type completionBody struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"`
	Created int64        `json:"created"` // Unix seconds
	Model   string       `json:"model"`
	Choices []choiceBody `json:"choices"`
	Usage   *usageBody   `json:"usage,omitempty"`
}

type choiceBody struct {
	Index        int          `json:"index"`
	Message      *contentBody `json:"message,omitempty"` // whole
	Delta        *contentBody `json:"delta,omitempty"`   // chunk
	Logprobs     *struct{}    `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

type contentBody struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// usageBody is an estimate: the gateway sees text, not what the models read.
type usageBody struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// usage counts four bytes as a token.
func (c *completion) usage(reply string) *usageBody {
	tokens := func(bytes int) int { return (bytes + 3) / 4 }
	u := &usageBody{Prompt: tokens(c.asked), Completion: tokens(len(reply))}
	u.Total = u.Prompt + u.Completion
	return u
}

// stream sends the answer while it is being made.
func (c *completion) stream(known *bus.MessageRecord) error {
	out := c.openSSE(c.w)
	var none string
	if err := c.chunk(out, contentBody{Role: roleAssistant, Content: &none}, nil); err != nil {
		return err
	}
	text, err := c.reply(known, out)
	if err != nil {
		return c.giveUp(out, err)
	}
	rest, ok := c.draft.finish(text)
	if !ok {
		return c.giveUp(out, c.unlike())
	}
	if err := c.say(out, rest); err != nil {
		return err
	}
	if err := c.chunk(out, contentBody{}, new("stop")); err != nil {
		return err
	}
	if c.withUsage {
		if err := c.encode(out, completionBody{Choices: []choiceBody{}, Usage: c.usage(text)}); err != nil {
			return err
		}
	}
	return out.event("", "", []byte("[DONE]"))
}

// follow waits for the reply, and sends partial text to out meanwhile; nil: none.
func (c *completion) follow(out *sse) (bus.Reply, error) {
	timer, tick := time.NewTimer(c.cfg.MaxAnswer), time.NewTicker(c.every.keepAlive)
	defer timer.Stop()
	defer tick.Stop()
	ready, alive := c.draft.ready, tick.C
	if out == nil {
		ready, alive = nil, nil
	}
	for {
		var err error
		select {
		case reply := <-c.waiter.reply:
			return reply, nil
		case <-ready:
			err = c.say(out, c.draft.take())
		case <-alive:
			err = out.comment("keep-alive")
		case <-timer.C:
			err = c.late()
		case <-c.r.pass.barred:
			err = c.barred()
		case <-c.draining:
			err = c.stopping()
		case <-c.r.Context().Done():
			err = context.Canceled
		}
		if err != nil {
			return bus.Reply{}, err
		}
	}
}

func (c *completion) say(out *sse, text string) error {
	if text == "" {
		return nil
	}
	return c.chunk(out, contentBody{Content: &text}, nil)
}

func (c *completion) chunk(out *sse, delta contentBody, reason *string) error {
	return c.encode(out, completionBody{Choices: []choiceBody{{Delta: &delta, FinishReason: reason}}})
}

func (c *completion) encode(out *sse, body completionBody) error {
	body.ID, body.Object, body.Created, body.Model = "chatcmpl-"+c.id, "chat.completion.chunk", c.began.Unix(), modelID
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode chunk: %w", err)
	}
	return out.event("", "", data)
}

// giveUp ends a stream without a finish reason and without [DONE], so that no
// client takes what it has for an answer.
func (c *completion) giveUp(out *sse, cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause // nobody listens
	}
	data, err := json.Marshal(openAIError(refusalOf(cause, c.r.trace)))
	if err != nil {
		return fmt.Errorf("encode error: %w", err)
	}
	c.log.Info("stream ended without an answer", "trace", c.r.trace, "err", cause)
	return out.event("", "", data)
}
