// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/blufio/blufio/services/agent/llm/wire"
)

// apiError is the server's "error": an object by OpenAI's documentation, a bare
// text or something beside it elsewhere.
type apiError struct {
	Message string
	Type    string
	Code    string // a word, or the HTTP status once more
}

// readError finds the error in a body; it is never nil.
func readError(body []byte) *apiError {
	var b struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"` // vLLM's of old
		Detail  json.RawMessage `json:"detail"`  // FastAPI's
	}
	if json.Unmarshal(body, &b) != nil {
		return &apiError{}
	}
	var object struct {
		Message string          `json:"message"`
		Type    string          `json:"type"`
		Code    json.RawMessage `json:"code"`
	}
	var text string
	switch {
	case (json.Unmarshal(b.Error, &text) == nil || json.Unmarshal(b.Detail, &text) == nil) && text != "":
		return &apiError{Message: text}
	case json.Unmarshal(b.Error, &object) == nil:
		return &apiError{Message: object.Message, Type: object.Type, Code: strings.Trim(string(object.Code), `"`)}
	}
	return &apiError{Message: b.Message}
}

func (e *apiError) known() bool { return *e != apiError{} }

// is reports whether the error is one of these codes.
func (e *apiError) is(codes ...string) bool {
	for _, c := range codes {
		if e.Code == c || e.Type == c {
			return true
		}
	}
	return false
}

// says reports whether the message has one of these in it.
func (e *apiError) says(parts ...string) bool { return wire.Says(e.Message, parts...) }

// status is the HTTP status that an error within a stream stands for.
func (e *apiError) status() int {
	status, err := strconv.Atoi(e.Code)
	switch {
	case err == nil && status >= 400 && status < 600:
		return status
	case e.is("invalid_api_key", "authentication_error"):
		return http.StatusUnauthorized
	case e.is("rate_limit_exceeded", "rate_limit_error"):
		return http.StatusTooManyRequests
	case e.is("invalid_request_error", "BadRequestError"): // last: it is the type of many an error with a code
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}
