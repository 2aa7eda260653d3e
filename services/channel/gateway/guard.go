// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// guard refuses what a web page of another site makes a browser send. It looks
// at every route, /health too: what is open to this machine is not open to the
// pages it happens to show.
func (f *front) guard(r *request) error {
	if f.cfg.BehindProxy {
		return nil // it knows the public names, we do not
	}
	if f.certs == nil && !f.knownHost(r.Host) {
		f.denied(reasonHost, "")
		return &refusal{status: http.StatusForbidden, code: reasonHost,
			message: "the Host header names " + shorten(r.Host) + ", which is not this gateway",
			hint:    "use 127.0.0.1 or localhost; set gateway.behind_proxy if a proxy passes on requests"}
	}
	if !f.sameSite(r) {
		f.denied(reasonOrigin, "")
		return &refusal{status: http.StatusForbidden, code: reasonOrigin,
			message: "a web page of another site may not use this gateway",
			hint:    "call it from a program, or from a page of the same origin"}
	}
	return nil
}

// knownHost reports whether host means this machine whoever resolves it. It
// may be empty with HTTP/1.0, which no browser speaks.
func (f *front) knownHost(host string) bool {
	if host == "" {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	listen, _, err := splitListen(f.cfg.Listen)
	return isLoopback(name) || err == nil && strings.EqualFold(name, listen)
}

// sameSite reports whether the request comes from no web page, or from one of
// this origin.
func (f *front) sameSite(r *request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == f.scheme() && strings.EqualFold(u.Host, r.Host)
}
