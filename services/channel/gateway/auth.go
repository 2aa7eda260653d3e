// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/denial"
)

// Reasons of a refusal: error codes, and labels in metrics and events.
const (
	reasonNoToken = "no_token"
	reasonBad     = "bad_token"
	reasonExpired = "expired_token"
	reasonScope   = "scope"
	reasonHost    = "host"
	reasonOrigin  = "origin"
)

// reasons is the closed set.
var reasons = [...]string{reasonNoToken, reasonBad, reasonExpired, reasonScope, reasonHost, reasonOrigin}

const (
	hintIssue = "make a token with: blufio token issue"
	realm     = `Bearer realm="blufio"`
)

// authorize sets r.subject and r.expires to the token's, or refuses. The answer to a token that
// fails is slow; a valid one never waits.
func (f *front) authorize(r *request, scope string) error {
	id, failure := f.identify(r)
	if failure != nil {
		f.denied(string(failure.code))
		if !f.slow.wait(r.Context(), f.draining, remote(r)) {
			return &refusal{status: http.StatusTooManyRequests, code: "slow_down", retryAfter: time.Second,
				message: "too many requests without a valid token are waiting", hint: failure.hint}
		}
		return failure
	}
	if scope != anyScope && !slices.Contains(id.scopes, scope) {
		f.denied(reasonScope)
		return &refusal{status: http.StatusForbidden, code: reasonScope,
			message:   "the token does not have the scope " + scope,
			hint:      "make a token with: blufio token issue --scope " + scope,
			challenge: realm + `, error="insufficient_scope", scope="` + scope + `"`}
	}
	r.subject, r.expires = id.subject, id.expires
	return nil
}

// identify reads the token.
func (f *front) identify(r *request) (identity, *refusal) {
	header := r.Header.Values("Authorization")
	if len(header) == 0 && r.route.browser {
		header = protocolToken(r)
	}
	if len(header) == 0 {
		return identity{}, unauthorized(reasonNoToken, "a bearer token is needed", hintIssue)
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return identity{}, unauthorized(reasonBad, "the Authorization header is not one bearer token", `write it as "Authorization: Bearer TOKEN"`)
	}
	id, err := f.tokens.verify(strings.TrimSpace(token))
	switch {
	case errors.Is(err, errExpired):
		return identity{}, unauthorized(reasonExpired, err.Error(), hintIssue)
	case err != nil:
		return identity{}, unauthorized(reasonBad, err.Error(), hintIssue)
	}
	return id, nil
}

func unauthorized(code bus.Code, message, hint string) *refusal {
	challenge := realm
	if code != reasonNoToken {
		challenge += `, error="invalid_token"`
	}
	return &refusal{status: http.StatusUnauthorized, code: code, message: message, hint: hint, challenge: challenge}
}

// denied counts a refusal and has it told.
func (s *Service) denied(reason string) {
	s.meter.denied(reason)
	s.denials.Note(denial.Denial{Reason: reason})
}

// remote is who asks: an address, or the network that one IPv6 host commonly has.
func remote(r *request) netip.Prefix {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{} // they share one entry
	}
	addr, bits := ap.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
