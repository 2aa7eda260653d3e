// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/blufio/blufio/bus"
)

// traceHeader names the request to the caller, as the log does.
const traceHeader = "Blufio-Trace"

// aborted stands in metrics for a connection given up without an answer.
const aborted = "aborted"

// refusal is an error as the caller sees it.
type refusal struct {
	status     int
	code       bus.Code
	message    string
	hint       string
	param      string        // member of an OpenAI request that is to blame
	final      bool          // OpenAI's clients must not send it again by themselves
	expected   bool          // no sign that something is wrong here
	challenge  string        // WWW-Authenticate
	retryAfter time.Duration // 0: unknown
}

func (e *refusal) Error() string { return e.message }

// invalid is a 400 with a hint.
func invalid(hint, format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: bus.CodeInvalid, message: fmt.Sprintf(format, args...), hint: hint}
}

func internal(trace string) *refusal {
	return &refusal{status: http.StatusInternalServerError, code: bus.CodeInternal,
		message: "the gateway could not answer", hint: "the daemon's log has the details, at trace " + trace}
}

// statusOf is the HTTP side of the bus's codes.
func statusOf(c bus.Code) int {
	switch c {
	case bus.CodeInvalid:
		return http.StatusBadRequest
	case bus.CodeBudget, bus.CodeStopped, bus.CodePriceUnknown:
		return http.StatusPaymentRequired
	case bus.CodeDenied:
		return http.StatusForbidden
	case bus.CodeNotFound:
		return http.StatusNotFound
	case bus.CodeConflict, bus.CodeCanceled:
		return http.StatusConflict
	case bus.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case bus.CodeBusy, bus.CodeUnavailable:
		return http.StatusServiceUnavailable
	case bus.CodeTimeout:
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}

// refusalOf makes of any error what the caller may see of it.
func refusalOf(err error, trace string) *refusal {
	var own *refusal
	var coded *bus.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &coded):
		e := &refusal{status: statusOf(coded.Code), code: coded.Code, message: coded.Message, hint: coded.Hint, retryAfter: coded.RetryAfter}
		if e.status == http.StatusServiceUnavailable {
			e.retryAfter = max(e.retryAfter, time.Second)
		}
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &refusal{status: http.StatusGatewayTimeout, code: bus.CodeTimeout, message: "no answer in time", hint: "try again"}
	}
	return internal(trace)
}

// refuse writes err in the shape of its route.
func (f *front) refuse(w http.ResponseWriter, r *request, err error) {
	if errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the caller has gone: there is nobody to tell
	}
	e := refusalOf(err, r.trace)
	if e.status >= http.StatusInternalServerError && !e.expected {
		f.evidence.failed(e.message, f.now())
		level := slog.LevelWarn
		if e.code == bus.CodeBusy { // a crowd that is refused would fill the log; counters and the last error tell of it
			level = slog.LevelDebug
		}
		f.log.Log(r.Context(), level, "request failed", "trace", r.trace, "code", string(e.code), "err", err)
	}
	if e.challenge != "" {
		w.Header().Set("WWW-Authenticate", e.challenge)
	}
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retryAfter.Seconds()))))
	}
	var body any = errorBodyOf(e)
	if r.route.openai {
		body = openAIError(e)
		if e.final {
			w.Header().Set("X-Should-Retry", "false") // the stock clients heed it
		}
	}
	if err := writeJSON(w, e.status, body); err != nil {
		f.log.Debug("answer not sent", "trace", r.trace, "err", err)
	}
}

// errorBody is an error in the gateway's own shape.
type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code    bus.Code `json:"code"`
	Message string   `json:"message"`
	Hint    string   `json:"hint"`
}

func errorBodyOf(e *refusal) errorBody {
	return errorBody{Error: errorDetail{Code: e.code, Message: e.message, Hint: e.hint}}
}

// writeJSON answers with v. An error after the head means that the caller has
// gone or does not take the answer.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // it is not HTML: secure says so to browsers
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("send answer: %w: %w", context.Canceled, err)
	}
	return nil
}

// secure sets what every answer says to browsers and caches.
func secure(h http.Header, trace string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set(traceHeader, trace)
}

// recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController set deadlines, flush and hijack.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// code is the class of the status for metrics. Nothing sent means that the
// connection was given up.
func (w *recorder) code() string {
	if w.status == 0 {
		return aborted
	}
	return strconv.Itoa(w.status/100) + "xx"
}
