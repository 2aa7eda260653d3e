// SPDX-License-Identifier: MIT OR Apache-2.0

package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// PlaintextError refuses to send something over http:// to another machine.
type PlaintextError struct {
	Host    string
	Setting string // the key that would allow it, may be ""
	List    bool   // the key is a list of hosts
}

func (e *PlaintextError) Error() string {
	return fmt.Sprintf("%s is another machine, and http:// would send everything to it in the clear", e.Host)
}

// Hint says what to do about it.
func (e *PlaintextError) Hint() string {
	if e.Setting == "" {
		return "use https://"
	}
	if e.List {
		return fmt.Sprintf("use https://, or add %q to %s", e.Host, e.Setting)
	}
	return fmt.Sprintf("use https://, or set %s = true for a machine in your own network", e.Setting)
}

// RedirectError refuses to go where a server pointed to.
type RedirectError struct {
	Host   string // that was pointed to
	Reason string
}

func (e *RedirectError) Error() string {
	return fmt.Sprintf("redirect to %s not followed: %s", e.Host, e.Reason)
}

// SilentError means that nothing came for so long that the answer was given up.
type SilentError struct{ After time.Duration }

func (e *SilentError) Error() string { return fmt.Sprintf("nothing came for %s", e.After) }

// Timeout is true, as for a net.Error.
func (e *SilentError) Timeout() bool { return true }

// TooLargeError means that an answer was longer than Options.MaxBody.
type TooLargeError struct{ Limit int64 } // bytes

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the answer is longer than %d bytes", e.Limit)
}

// CheckURL reports whether a client with these options would send to u; the
// error is nil or a *PlaintextError.
func (o Options) CheckURL(u *url.URL) error {
	if o.Public {
		if u.Scheme == "http" && !o.Allow.host(u.Hostname()) {
			return &PlaintextError{Host: u.Hostname(), Setting: o.Setting, List: true}
		}
		return nil
	}
	if u.Scheme == "http" && !o.AllowPlaintext && !IsLoopback(u.Hostname()) {
		return &PlaintextError{Host: u.Hostname(), Setting: o.Setting}
	}
	return nil
}

// checkRedirect decides about each redirect; via are the requests so far.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	to := req.URL
	switch {
	case len(via) > MaxRedirects:
		return &RedirectError{to.Hostname(), fmt.Sprintf("there were %d before", MaxRedirects)}
	case last.URL.Scheme == "https" && to.Scheme != "https":
		return &RedirectError{to.Hostname(), "it leaves https"}
	case !sameHost(last.URL, to) && confidential(first):
		return &RedirectError{to.Hostname(), "it is another host, and the request is not meant for that"}
	}
	return nil
}

// confidential reports whether a request says what only its host may know.
func confidential(req *http.Request) bool {
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie"} {
		if req.Header.Get(name) != "" {
			return true
		}
	}
	return req.URL.User != nil || req.ContentLength != 0 // -1: a body of unknown length
}

// sameHost compares name and port. The same name with https instead of http is
// the same host.
func sameHost(from, to *url.URL) bool {
	if from.Hostname() != to.Hostname() {
		return false
	}
	return from.Port() == to.Port() || from.Scheme == "http" && to.Scheme == "https"
}

// guard refuses requests and watches over answers.
type guard struct {
	next    *http.Transport
	proxied *http.Transport // Public only: for what goes to a proxy
	open    *atomic.Int64   // connections
	o       Options
}

// route decides how a request travels, and whether it may.
func (g *guard) route(req *http.Request) (*http.Transport, error) {
	if err := g.o.CheckURL(req.URL); err != nil || !g.o.Public {
		return g.next, err
	}
	via, err := g.o.proxy(req)
	if err != nil || via == nil {
		return g.next, err
	}
	return g.proxied, g.o.checkProxied(req.Context(), req.URL)
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	next, err := g.route(req)
	if err != nil {
		if req.Body != nil {
			err = errors.Join(err, req.Body.Close()) // a RoundTripper owes that
		}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	b := &body{ctx: ctx, cancel: cancel, left: g.o.MaxBody, o: g.o}
	b.timer = time.AfterFunc(g.o.Silence, func() { cancel(&SilentError{g.o.Silence}) })
	req = req.Clone(ctx)
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", g.o.UserAgent)
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		err = b.reason(err)
		b.end()
		return nil, err
	}
	b.from = resp.Body
	resp.Body = b
	return resp, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (g *guard) CloseIdleConnections() {
	g.next.CloseIdleConnections()
	if g.proxied != nil {
		g.proxied.CloseIdleConnections()
	}
}

// ConnBytes is about what a connection kept for the next request holds: its
// buffers, its TLS state and two goroutines' stacks.
const ConnBytes = 32 << 10

// CloseIdle closes the connections that a client made by [New] keeps for the next
// request, and returns about how many bytes that frees. Requests under way go on.
func CloseIdle(c *http.Client) int64 {
	g, ok := c.Transport.(*guard)
	if !ok {
		c.CloseIdleConnections()
		return 0
	}
	before := g.open.Load()
	c.CloseIdleConnections()
	return max(0, before-g.open.Load()) * ConnBytes
}

// tallied is a connection that leaves the count when it is closed.
type tallied struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c tallied) Close() error {
	c.leave()
	return c.Conn.Close()
}

// count lets d's connections be counted.
func (d dial) count(open *atomic.Int64) dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d(ctx, network, address)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return tallied{c, sync.OnceFunc(func() { open.Add(-1) })}, nil
	}
}

// body is a response's body with its bounds.
type body struct {
	from   io.ReadCloser
	ctx    context.Context // of this one request: the timer cancels it with a cause
	cancel context.CancelCauseFunc
	timer  *time.Timer
	left   int64
	o      Options
	once   sync.Once
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, &TooLargeError{b.o.MaxBody}
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more byte tells whether there are more
	}
	n, err := b.from.Read(p)
	if n > 0 && b.ctx.Err() == nil {
		b.timer.Reset(b.o.Silence)
	}
	if b.left -= int64(n); b.left < 0 {
		return n - 1, &TooLargeError{b.o.MaxBody}
	}
	if err != nil && err != io.EOF {
		err = b.reason(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	err := b.from.Close()
	b.end()
	return err
}

// end stops the watch.
func (b *body) end() {
	b.once.Do(func() {
		b.timer.Stop()
		b.cancel(nil)
	})
}

// reason tells silence from other failures: net/http knows both as a canceled
// request.
func (b *body) reason(err error) error {
	var silent *SilentError
	if errors.As(context.Cause(b.ctx), &silent) {
		return silent
	}
	return err
}
