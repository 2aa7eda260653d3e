// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"strings"

	"github.com/blufio/blufio/bus"
)

// Types of the frames of a socket.
const (
	frameMessage  = "message"
	framePing     = "ping"
	frameAccepted = "accepted"
	frameDelta    = "delta"
	frameReply    = "reply"
	frameError    = "error"
	framePong     = "pong"
)

// clientFrame is what a client sends: a message, or a ping.
type clientFrame struct {
	Type    string
	ID      string // the client's name for it, unique among those without a reply
	Key     string // idempotency key, as of POST /v1/messages
	Session string
	Text    string
}

// serverFrame is what the gateway sends. ID is the client's, Message the agent's.
type serverFrame struct {
	Type    string       `json:"type"`
	ID      string       `json:"id,omitempty"`
	Message string       `json:"message,omitempty"`
	Session string       `json:"session,omitempty"`
	State   string       `json:"state,omitempty"`   // reply: answered, failed or dead
	Attempt int          `json:"attempt,omitempty"` // delta: of the turn, from 1
	Round   *int         `json:"round,omitempty"`   // delta: model call of the turn, from 0
	N       *int         `json:"n,omitempty"`       // delta: piece of the round, from 0
	Text    *string      `json:"text,omitempty"`
	Error   *errorDetail `json:"error,omitempty"`
}

// decodeFrame reads a client's frame strictly. On an error the id is there if it
// could be read.
func decodeFrame(data []byte) (clientFrame, error) {
	var c clientFrame
	if err := decodeObject(data, field{"type", &c.Type}, field{"id", &c.ID}, field{"key", &c.Key},
		field{"session", &c.Session}, field{"text", &c.Text}); err != nil {
		return c, err
	}
	switch {
	case c.Type == framePing:
		return c, nil
	case c.Type != frameMessage:
		return c, invalid(`send {"type":"message","id":"1","text":"hello"}`, "there is no frame of type %q", shorten(c.Type))
	case c.ID == "" || len(c.ID) > maxKeyBytes:
		return c, invalid("use 1 to 128 bytes that tell it from your other messages", "the message has no usable id")
	case strings.TrimSpace(c.Text) == "":
		return c, invalid(`send {"type":"message","id":"1","text":"hello"}`, "the text is empty")
	}
	return c, nil
}

// errorFrame tells of a failure; id is empty when it is not about one message.
func errorFrame(id, message string, err error, trace string) serverFrame {
	e := errorBodyOf(refusalOf(err, trace)).Error
	return serverFrame{Type: frameError, ID: id, Message: message, Error: &e}
}

func deltaFrame(id string, d bus.Delta) serverFrame {
	return serverFrame{Type: frameDelta, ID: id, Message: d.MessageID, Attempt: d.Attempt, Round: &d.Round, N: &d.N, Text: &d.Text}
}

// Subprotocols of a socket.
const (
	protocol       = "blufio"
	protocolBearer = "bearer." // and a token
)

// offered lists the subprotocols that the client offers.
func offered(r *request) []string {
	var all []string
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			all = append(all, strings.TrimSpace(p))
		}
	}
	return all
}

// protocolToken returns the token that a browser's script offers as a
// subprotocol, written as the Authorization header it cannot set.
func protocolToken(r *request) []string {
	var found []string
	for _, p := range offered(r) {
		if token, ok := strings.CutPrefix(p, protocolBearer); ok {
			found = append(found, "Bearer "+token)
		}
	}
	return found
}
