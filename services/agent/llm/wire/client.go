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
	"bytes"
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

// Try is what one try to get an answer came to.
type Try struct {
	Begun bool      // something of an answer has come: it cannot be begun anew
	Used  bus.Usage // what may have to be paid for it
}

// Insist lets once ask until there is an answer, or no use in asking again. It
// returns what all tries together may have cost. The error is once's, or the
// context's when that ended.
func (c *Client) Insist(ctx context.Context, once func() (Try, error)) (bus.Usage, error) {
	var paid bus.Usage
	for n := 1; ; n++ {
		try, err := once()
		paid = add(paid, try.Used)
		if err == nil {
			return paid, nil
		}
		if err := ctx.Err(); err != nil {
			return paid, fmt.Errorf("ask %s: %w", c.Host, err)
		}
		var e *bus.Error
		if try.Begun || n == MaxTries || !errors.As(err, &e) || !bus.Retryable(e) || !c.pause(ctx, n, e.RetryAfter) {
			return paid, err
		}
	}
}

// Taker takes what the server answers. Its errors are what Ask returns.
type Taker interface {
	// Refused gets an answer that is no stream: the status and the body.
	Refused(status int, body []byte) error
	// Stream reads an answer to its end.
	Stream(r io.Reader) error
}

// Ask puts a question once.
func (c *Client) Ask(ctx context.Context, header http.Header, question []byte, t Taker) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // an answer that is given up is not read to its end
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(question))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	r.Header = header
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.Do(r)
	if err != nil {
		return c.unreached(err)
	}
	defer resp.Body.Close()
	if !streams(resp) {
		return c.refused(resp, t)
	}
	if err := t.Stream(resp.Body); err != nil {
		return err
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
func (c *Client) refused(resp *http.Response, t Taker) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrors))
	if err != nil && resp.StatusCode == http.StatusOK {
		return c.Broken(err)
	}
	if err != nil {
		data = nil // the status alone tells enough
	}
	err = t.Refused(resp.StatusCode, data)
	var e *bus.Error
	if errors.As(err, &e) && bus.Retryable(e) {
		e.RetryAfter = retryAfter(resp.Header, c.d.Now())
	}
	return err
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
