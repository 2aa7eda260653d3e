// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"

	"github.com/blufio/blufio/services/agent/llm"
)

// End is how a stream ends.
type End int

const (
	Whole   End = iota // with [DONE] or message_stop
	NoDone             // without that, the connection closed in good order
	Cut                // the connection breaks before the answer is finished
	CutLate            // it breaks between the finished answer and its last frame
	Stall              // nothing more comes, before the answer is finished
)

// Call is a function and its arguments, JSON in a text.
type Call struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

// Answer is one answer of the script.
type Answer struct {
	Status int         // 0 is 200
	Header http.Header // added to the answer's
	Code   string      // of the error, Anthropic's type; with a Status of 200 the error is within the stream
	Error  string      // message of the error

	Thinking []string // before the text; Anthropic's only
	Text     []string // the pieces it is streamed in
	Refusal  string
	Calls    []Call // their ids are call_a, call_b, …; Anthropic's toolu_1a, toolu_1b, … in the first answer
	Finish   string // "" is what fits
	Usage    *Usage // nil: OpenAI counts nothing, Anthropic meters
	Metered  bool   // count what goes over the wire
	End      End

	Type string // media type; "" is the right one
	Raw  string // body to send as it is, instead of all the above but Status and Header
}

// Says answers with text, streamed in these pieces, and counts 100 tokens for the
// question and 10 for the answer.
func Says(pieces ...string) Answer {
	return Answer{Text: pieces, Usage: &Usage{Prompt: 100, Completion: 10}}
}

// Uses calls tools: their arguments are streamed in pieces. It counts like Says.
func Uses(calls ...Call) Answer {
	return Answer{Calls: calls, Usage: &Usage{Prompt: 100, Completion: 10}}
}

// Fails answers with a status and an error.
func Fails(status int, code, message string) Answer {
	return Answer{Status: status, Code: code, Error: message}
}

// Limited answers with 429 and asks to wait; retryAfter "" says nothing of how long.
func Limited(retryAfter string) Answer {
	a := Fails(http.StatusTooManyRequests, "rate_limit_exceeded", "Rate limit reached for requests")
	if retryAfter != "" {
		a.Header = http.Header{"Retry-After": {retryAfter}}
	}
	return a
}

// Overloaded answers as Anthropic does when there is too much to do.
func Overloaded() Answer { return Fails(529, "overloaded_error", "Overloaded") }

// streamed reports whether the answer is one, and not a refusal.
func (a Answer) streamed() bool { return a.Status == 0 || a.Status == http.StatusOK }

// begun reports whether anything of an answer comes.
func (a Answer) begun() bool {
	return a.streamed() && a.Raw == "" && (a.Error == "" || len(a.Text)+len(a.Thinking)+len(a.Calls) > 0)
}

// finished reports whether the answer is one to its end.
func (a Answer) finished() bool { return a.Error == "" && a.End != Cut && a.End != Stall }

// output is what the answer's own tokens are, metered.
func (a Answer) output() int64 {
	n := len(a.Refusal)
	for _, piece := range slices.Concat(a.Thinking, a.Text) {
		n += len(piece)
	}
	for _, c := range a.Calls {
		n += len(c.Name) + len(c.Arguments)
	}
	return max(1, llm.EstimateTokens(n))
}

// count is the answer with what it costs: the script's count or the meter's. A
// broken answer costs what has come of it.
func (a Answer) count(c counted) Answer {
	if a.Usage == nil {
		a.Usage = &Usage{Prompt: c.total, Cached: c.read, Written: c.written, Completion: a.output()}
	} else if !a.finished() {
		u := *a.Usage
		u.Completion = min(u.Completion, a.output())
		a.Usage = &u
	}
	return a
}

// write sends the answer: what is not streamed by itself, failure being the
// vendor's form of an error.
func (a Answer) write(w http.ResponseWriter, r *http.Request, stop <-chan struct{}, failure func() any, stream func()) {
	for name := range a.Header {
		w.Header().Set(name, a.Header.Get(name))
	}
	kind := a.Type
	if kind == "" && a.streamed() {
		kind = "text/event-stream; charset=utf-8"
	} else if kind == "" {
		kind = "application/json"
	}
	w.Header().Set("Content-Type", kind)
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
	switch {
	case a.Raw != "":
		_, _ = io.WriteString(w, a.Raw)
		a.end(w, r, stop)
	case !a.streamed():
		_ = json.NewEncoder(w).Encode(failure())
	default:
		stream()
	}
}

// end ends the connection as the script says.
func (a Answer) end(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	flush(w)
	switch a.End {
	case Cut, CutLate:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	case Stall:
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
