// SPDX-License-Identifier: MIT OR Apache-2.0

// Package outbound makes the HTTP client that everything uses which talks to
// the outside. What it adds to net/http are refusals and bounds:
//
//   - TLS 1.2 or later. Plain HTTP goes to this machine only, or wherever the
//     owner allowed it by a setting that the error names ([PlaintextError]).
//   - A name that means this machine, as "localhost", is not connected to another
//     one, whatever the resolver says.
//   - With [Options.Public], for URLs that a model or a stranger chose: TLS always,
//     and no connection to an address that is not on the public internet
//     ([PrivateError]). Each connection is judged by the address that it is about to
//     be made to, so neither a name that changes its address nor a redirect gets
//     around it.
//   - At most [MaxRedirects] redirects, none from https to http, and none to
//     another host for a request that carries credentials or a body
//     ([RedirectError]).
//   - A server may be silent only so long, before its answer and within it
//     ([SilentError]), and its body may be only so long ([TooLargeError]).
//
// The proxy of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) is honoured. It
// resolves names itself, so with Public they are looked up here first, and what is
// private or unknown here is not handed over. That the proxy then finds the same
// address cannot be known from here: one that must not reach a private network has
// to refuse it too. A
// deadline for the whole request is the context's; none is set here, because an
// answer that is streamed may take as long as it likes while it goes on.
//
// The errors come wrapped in an *url.Error; use errors.As. That one's text has
// the whole URL in it, so do not show it to people.
package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Options bound a client. The zero value is usable.
type Options struct {
	AllowPlaintext bool          // let http:// go to other machines too
	Public         bool          // only https:// and only the public internet, but for Allow; AllowPlaintext does not count
	Allow          Allowed       // what Public does not speak of
	Setting        string        // the key that allows it, for the error's hint: "openai.allow_plaintext", or Public's list
	Connect        time.Duration // longest time for a TCP connection, and again for TLS; default 10 s
	Silence        time.Duration // longest time without a byte of the answer; default 1 min
	MaxBody        int64         // longest answer, in bytes; default 1 MiB
	UserAgent      string        // default "blufio"

	resolver *net.Resolver                         // the system's, but for tests
	proxy    func(*http.Request) (*url.URL, error) // the environment's, but for tests
}

const (
	// MaxRedirects is how many redirects are followed.
	MaxRedirects = 3

	maxHeaderBytes = 64 << 10
	maxIdle        = 8 // connections kept for each host
	keepIdle       = 90 * time.Second
	ping           = 15 * time.Second // HTTP/2: how soon a dead connection is noticed
)

// New returns a client with o's bounds. It is safe for concurrent use.
func New(o Options) *http.Client {
	o.Connect = cmp.Or(o.Connect, 10*time.Second)
	o.Silence = cmp.Or(o.Silence, time.Minute)
	o.MaxBody = cmp.Or(o.MaxBody, 1<<20)
	o.UserAgent = cmp.Or(o.UserAgent, "blufio")
	o.resolver = cmp.Or(o.resolver, net.DefaultResolver)
	if o.proxy == nil {
		o.proxy = http.ProxyFromEnvironment
	}
	open := new(atomic.Int64)
	g := &guard{next: o.transport(o.dialer().count(open)), o: o, open: open}
	if o.Public { // a proxy may be in a private network, what it is asked for may not
		g.proxied = o.transport(Options{Connect: o.Connect, resolver: o.resolver}.dialer().count(open))
		g.proxied.Proxy = o.proxy
	} else {
		g.next.Proxy = o.proxy
	}
	return &http.Client{Transport: g, CheckRedirect: checkRedirect}
}

func (o Options) transport(dial dial) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    o.Connect,
		ForceAttemptHTTP2:      true, // a dialer of our own turns it off otherwise
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: ping, PingTimeout: ping},
		MaxIdleConns:           4 * maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        keepIdle,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// dialer connects where control lets it.
func (o Options) dialer() dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d := net.Dialer{Timeout: o.Connect, Resolver: o.resolver, ControlContext: o.control(host)}
		return d.DialContext(ctx, network, address)
	}
}

// control decides about each address that a host's name stands for, before
// anything is sent there. Every connection comes by here, a proxy's too: rules
// about address ranges belong here, where no resolver can trick them.
func (o Options) control(host string) func(ctx context.Context, network, address string, c syscall.RawConn) error {
	here := IsLoopback(host)
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if here && !to.Addr().Unmap().IsLoopback() {
			return &net.AddrError{Err: "this name must stand for this machine and does not", Addr: host}
		}
		return o.checkAddr(host, to.Addr())
	}
}

// IsLoopback reports whether host, a name or an address with or without
// brackets, always means this machine.
func IsLoopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}
