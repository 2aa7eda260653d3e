// SPDX-License-Identifier: MIT OR Apache-2.0

// Package wire is what all providers share that ask a model over HTTP and get
// its answer as a stream of server-sent events. What a question and an answer
// look like is each provider's own; how one is asked is the same:
//
//	server.go   where: the address, the key, and what is wrong with them
//	client.go   asks, and asks again where that makes sense
//	frames.go   cuts the stream into its events
//	draft.go    the answer as it comes: its text, its tool calls, its bounds
//	failure.go  says what went wrong, in words for the person who asked
//
// A question is asked up to [MaxTries] times, with growing and jittered pauses or
// the pause the server asks for, as long as the context's deadline leaves room
// and nothing of an answer has come: a half answer is never begun anew.
package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/outbound"
)

const (
	// MaxTries is how often a question is asked.
	MaxTries = 3

	maxErrors = 64 << 10        // bytes that are read of a refusal
	firstWait = time.Second / 2 // before the second try; doubles

	drainTime  = 200 * time.Millisecond // for what may follow an answer
	drainBytes = 4 << 10
)

// Deps is what a provider works with. The zero value is ready; tests replace the
// parts.
type Deps struct {
	UserAgent string                                           // default "blufio"
	Now       func() time.Time                                 // default time.Now
	Sleep     func(ctx context.Context, d time.Duration) error // returns early, with ctx's error, when ctx ends
	Jitter    func(d time.Duration) time.Duration              // default: between a half and all of d
}

// Client asks one server. It is safe for concurrent use.
type Client struct {
	Server
	Host string // for messages

	url  string
	http *http.Client
	d    Deps
}

// NewClient returns a client. It connects to nothing yet. The error is the first
// thing that [Server.Check] finds.
func NewClient(s Server, d Deps) (*Client, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(s.BaseURL)
	if err != nil {
		return nil, errors.New(s.setting("base_url") + ": not a URL") // validate saw it
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Sleep == nil {
		d.Sleep = sleep
	}
	if d.Jitter == nil {
		d.Jitter = func(w time.Duration) time.Duration { return w/2 + rand.N(w/2+1) }
	}
	bounds := s.bounds()
	bounds.UserAgent = d.UserAgent
	return &Client{Server: s, Host: base.Host, url: strings.TrimRight(s.BaseURL, "/") + s.Path, http: outbound.New(bounds), d: d}, nil
}

// Close lets go of idle connections. Questions under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Shed closes idle connections and returns about how many bytes that frees.
func (c *Client) Shed() int64 { return outbound.CloseIdle(c.http) }

// OpenKey returns the key for one question, "" where there is none. One that is there
// and cannot be had is refused here, as the server would refuse its absence.
func (c *Client) OpenKey() (string, error) {
	key, err := c.Key.Open()
	if err == nil {
		return key, nil
	}
	refused := bus.Errorf(bus.CodeDenied, "%v", err)
	if told := (*bus.Error)(nil); errors.As(err, &told) {
		refused.Hint = told.Hint
	}
	return "", &KeyError{refused}
}

// KeyError says that a key is there and cannot be had. It wraps a *bus.Error.
type KeyError struct{ refused *bus.Error }

func (e *KeyError) Error() string { return e.refused.Error() }
func (e *KeyError) Unwrap() error { return e.refused }

// Answer is what one try to get an answer comes to. It has a [Draft] within it.
type Answer interface {
	Base() *Draft
	// Read takes the stream to its end. What the vendor says within it went wrong is
	// a *bus.Error.
	Read(r io.Reader) error
	// Refused explains what came instead of a stream; status is 0 where it came as
	// if it were one. nil means that it says nothing of an error.
	Refused(status int, body []byte) error
	// Verdict refuses an answer that came whole and yet is none.
	Verdict() error
	// Usage is what may have to be paid for it.
	Usage() bus.Usage
}

// Complete puts a question to the model until there is an answer, or no use in
// asking again; see [llm.Provider]. Each try writes the question anew, which is not kept
// once somebody answers, and has a fresh answer. With an error the
// Response holds nothing but what all tries together may cost. Errors are a
// *bus.Error, or the context's when that ended.
func (c *Client) Complete(ctx context.Context, model string, header http.Header, question func() ([]byte, error), fresh func() Answer) (llm.Response, error) {
	var paid bus.Usage
	for n := 1; ; n++ {
		a := fresh()
		data, err := question()
		if err != nil {
			return llm.Response{Usage: paid}, fmt.Errorf("encode request: %w", err)
		}
		err = c.ask(ctx, header.Clone(), &sheet{data: data}, a)
		if err == nil {
			err = a.Verdict()
		}
		paid = add(paid, a.Usage())
		if err == nil {
			return a.Base().Response(model, paid), nil
		}
		if err := ctx.Err(); err != nil {
			return llm.Response{Usage: paid}, fmt.Errorf("ask %s: %w", c.Host, err)
		}
		var e *bus.Error
		if a.Base().Begun || n == MaxTries || !errors.As(err, &e) || !bus.Retryable(e) || !c.pause(ctx, n, e.RetryAfter) {
			return llm.Response{Usage: paid}, err
		}
	}
}

// ask puts a question once.
func (c *Client) ask(ctx context.Context, header http.Header, question *sheet, a Answer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // an answer that is given up is not read to its end
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	r.Header, r.ContentLength, r.GetBody = header, int64(len(question.data)), question.open
	r.Body, _ = question.open()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.Do(r)
	if err != nil {
		return c.unreached(err)
	}
	defer resp.Body.Close()
	if !streams(resp) {
		return c.refused(resp, a)
	}
	question.throwAway()
	a.Base().Accepted = true
	if err := a.Read(resp.Body); err != nil {
		return c.broken(err)
	}
	// Read to its very end, the connection can be used again.
	timer := time.AfterFunc(drainTime, cancel)
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, drainBytes)
	return nil
}

// streams reports whether an answer is a stream, as far as can be seen before it
// is read.
func streams(resp *http.Response) bool {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return resp.StatusCode == http.StatusOK && kind != "application/json" && kind != "text/html"
}

// refused reads what came instead of a stream.
func (c *Client) refused(resp *http.Response, a Answer) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrors))
	status := resp.StatusCode
	if status == http.StatusOK {
		status = 0
	}
	if err != nil {
		data = nil // the status alone tells enough
	}
	refusal := a.Refused(status, data)
	if status == 0 && (refusal == nil || err != nil) {
		a.Base().Accepted = true
		return c.broken(cmp.Or(err, fmt.Errorf("%w: it did not stream its answer", ErrMalformed)))
	}
	var e *bus.Error
	if errors.As(refusal, &e) && bus.Retryable(e) {
		e.RetryAfter = retryAfter(resp.Header, c.d.Now())
	}
	return refusal
}

// pause waits before the next try, as long as the server asks for. It reports
// whether there is time for one.
func (c *Client) pause(ctx context.Context, try int, asked time.Duration) bool {
	wait := max(asked, c.d.Jitter(firstWait<<(try-1)))
	deadline, ok := ctx.Deadline()
	if !ok && asked > c.Timeout || ok && c.d.Now().Add(wait).After(deadline) {
		return false
	}
	return c.d.Sleep(ctx, wait) == nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter reads how long the server asks to wait: milliseconds (OpenAI's), or
// seconds or a date (RFC 9110). 0 is unknown.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const longest = 24 * time.Hour
	for _, c := range []struct {
		header, unit string
	}{{"Retry-After-Ms", "ms"}, {"Retry-After", "s"}} {
		if d, err := time.ParseDuration(strings.TrimSpace(h.Get(c.header)) + c.unit); err == nil && d >= 0 {
			return min(d, longest)
		}
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		return min(max(at.Sub(now), 0), longest)
	}
	return 0
}

func add(a, b bus.Usage) bus.Usage {
	return bus.Usage{Input: a.Input + b.Input, Output: a.Output + b.Output,
		CacheRead: a.CacheRead + b.CacheRead, CacheWrite: a.CacheWrite + b.CacheWrite}
}
