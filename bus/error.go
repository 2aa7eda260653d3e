// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Code says what kind of failure an [Error] is. Codes cross the bus in the
// Nats-Service-Error-Code header and the gateway as `error.code`.
type Code string

const (
	CodeBusy         Code = "busy"             // a bound is reached; the same request may succeed later
	CodeInvalid      Code = "invalid"          // the request itself is wrong
	CodeNotFound     Code = "not_found"        // no such thing, or not yours to see
	CodeDenied       Code = "denied"           // the key or token does not permit this
	CodeUnavailable  Code = "unavailable"      // nobody answers on that lane now
	CodeTimeout      Code = "timeout"          // no answer within the deadline
	CodeTooLarge     Code = "too_large"        // over a size bound
	CodeConflict     Code = "conflict"         // the same id was used for something else before, or its thing is in another state
	CodeBudget       Code = "budget_exhausted" // the daily or monthly budget is spent
	CodeStopped      Code = "spending_stopped" // the owner's kill switch is on
	CodeCanceled     Code = "canceled"         // the person no longer wants it
	CodePriceUnknown Code = "price_unknown"    // a model without a price may not be called
	CodeInternal     Code = "internal"         // a defect or a broken part; the log has the details
)

// Error is a failure that crosses the bus. Message is one line for a person,
// Hint says what to do about it.
type Error struct {
	Code       Code
	Message    string
	Hint       string
	RetryAfter time.Duration // when trying again makes sense; 0: unknown

	nobody bool // see Nobody
}

// Nobody reports whether a call failed because no room answers its lane now, so
// that nobody has seen the request.
func Nobody(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.nobody
}

func (e *Error) Error() string { return e.Message }

// Is reports whether target is an *Error of the same code, so that
// errors.Is(err, &bus.Error{Code: bus.CodeBusy}) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// Errorf makes an Error from a code and a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint returns e with a hint of what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// CodeOf returns err's code: "" for nil, CodeInternal for an error without one.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Retryable reports whether the same request may succeed later.
func Retryable(err error) bool {
	switch CodeOf(err) {
	case CodeBusy, CodeUnavailable, CodeTimeout:
		return true
	}
	return false
}

// errorBody is what an error reply carries beside the two service headers.
type errorBody struct {
	Hint         string `json:"hint,omitempty"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

func (e *Error) body() []byte {
	data, err := json.Marshal(errorBody{Hint: e.Hint, RetryAfterMS: e.RetryAfter.Milliseconds()})
	if err != nil {
		return nil // two plain fields cannot fail to marshal
	}
	return data
}

// errorFrom rebuilds the Error that body and the two service headers carry.
func errorFrom(code, message string, body []byte) *Error {
	e := &Error{Code: Code(code), Message: message}
	var b errorBody
	if json.Unmarshal(body, &b) == nil {
		e.Hint = b.Hint
		e.RetryAfter = time.Duration(b.RetryAfterMS) * time.Millisecond
	}
	return e
}
