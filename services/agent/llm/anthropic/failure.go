// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"encoding/json"
	"net/http"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

// apiError is the server's "error".
type apiError struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// readError finds the error in a body; it is never nil.
func readError(body []byte) *apiError {
	var b struct {
		Error apiError `json:"error"`
	}
	if json.Unmarshal(body, &b) != nil {
		return &apiError{}
	}
	return &b.Error
}

// statuses are what an error within a stream would have come with.
var statuses = map[string]int{
	"invalid_request_error": http.StatusBadRequest,
	"authentication_error":  http.StatusUnauthorized,
	"billing_error":         http.StatusPaymentRequired,
	"permission_error":      http.StatusForbidden,
	"not_found_error":       http.StatusNotFound,
	"request_too_large":     http.StatusRequestEntityTooLarge,
	"rate_limit_error":      http.StatusTooManyRequests,
	"timeout_error":         http.StatusGatewayTimeout,
	"overloaded_error":      529,
}

// explain says what a status and an error of the server's mean; status 0 is an
// error within a stream, and one of no known type is the server's own.
func (p *Provider) explain(status int, e *apiError, model string) error {
	shown := wire.Shown(status)
	if status == 0 {
		if status = statuses[e.Type]; status == 0 {
			status = http.StatusInternalServerError
		}
	}
	switch {
	case status == http.StatusRequestEntityTooLarge || status == http.StatusBadRequest && wire.Says(e.Message, "prompt is too long", "exceed context limit", "context window", "context_length_exceeded"):
		return p.c.TooLong(model)
	case status == http.StatusBadRequest && wire.Says(e.Message, "credit balance", "usage limits"):
		return p.c.NoCredit() // said with a type of its own only lately
	case status == http.StatusNotFound && wire.Says(e.Message, "model"):
		return p.c.NoModel(model)
	}
	return p.c.Status(status, shown, e.Message)
}

// Refused implements [wire.Answer].
func (a *answer) Refused(status int, body []byte) error {
	e := readError(body)
	if status == 0 && e.Type == "" {
		return nil
	}
	return a.p.explain(status, e, a.asked)
}

// Verdict refuses an answer that came whole and yet is none.
func (a *answer) Verdict() error {
	switch c := a.p.c; {
	case a.stop == stopRefused:
		return c.Refused(a.why)
	case a.stop == stopPaused:
		return bus.Errorf(bus.CodeInternal, "model %s paused within its answer, for a tool of its server's that was not asked for", a.asked)
	case a.stop == stopFull && (a.blank() || len(a.Calls) > 0):
		return c.TooLong(a.asked)
	case a.stop == stopLength && len(a.Calls) > 0:
		return bus.Errorf(bus.CodeInvalid, "the answer of model %s was cut off within a tool call", a.asked).WithHint("raise agent.max_reply_tokens")
	case a.stop == stopLength && a.blank():
		return c.OnlyThought(a.asked)
	case a.blank():
		return c.Empty(a.asked)
	}
	return a.Named(a.asked)
}
