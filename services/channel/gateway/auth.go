// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"errors"
	"fmt"
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
	reasonRevoked = "revoked_token"
	reasonScope   = "scope"
	reasonRate    = "rate_limited"
	reasonHost    = "host"
	reasonOrigin  = "origin"
)

// reasons is the closed set.
var reasons = [...]string{reasonNoToken, reasonBad, reasonExpired, reasonRevoked, reasonScope, reasonRate, reasonHost, reasonOrigin}

const (
	hintIssue = "make a token with: blufio token issue"
	realm     = `Bearer realm="blufio"`
)

// authorize sets r.subject and r.pass to the token's, or refuses. The answer to a token that
// fails is slow; a valid one never waits.
func (f *front) authorize(r *request, scope string) error {
	pass, who, failure := f.identify(r)
	if failure != nil {
		f.denied(string(failure.code), who)
		if !f.slow.wait(r.Context(), f.draining, remote(r)) {
			return &refusal{status: http.StatusTooManyRequests, code: "slow_down", retryAfter: time.Second,
				message: "too many requests without a valid token are waiting", hint: failure.hint}
		}
		return failure
	}
	if err := f.pace(pass); err != nil {
		return err
	}
	if scope != anyScope && !slices.Contains(pass.scopes, scope) {
		f.denied(reasonScope, pass.id)
		return &refusal{status: http.StatusForbidden, code: reasonScope,
			message:   "the token does not have the scope " + scope,
			hint:      "make a token with: blufio token issue --scope " + scope,
			challenge: realm + `, error="insufficient_scope", scope="` + scope + `"`}
	}
	r.subject, r.pass = pass.subject, pass
	return nil
}

// pace counts one request or frame against the rate of its token.
func (f *front) pace(p admission) error {
	wait, ok := p.bucket.take(f.now(), p.rate)
	if ok {
		return nil
	}
	f.denied(reasonRate, p.id)
	return &refusal{status: http.StatusTooManyRequests, code: reasonRate, retryAfter: wait,
		message: fmt.Sprintf("the token has a rate of %d requests a minute", p.rate),
		hint:    "come more slowly, or make a token with another --rate"}
}

// identify reads the token. who is its id, where the device key has signed it.
func (f *front) identify(r *request) (a admission, who string, failure *refusal) {
	header := r.Header.Values("Authorization")
	if len(header) == 0 && r.route.browser {
		header = protocolToken(r)
	}
	if len(header) == 0 {
		return a, "", unauthorized(reasonNoToken, "a bearer token is needed", hintIssue)
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return a, "", unauthorized(reasonBad, "the Authorization header is not one bearer token", `write it as "Authorization: Bearer TOKEN"`)
	}
	c, err := f.mint.verify(strings.TrimSpace(token))
	switch {
	case errors.Is(err, errExpired):
		return a, c.ID, unauthorized(reasonExpired, err.Error(), hintIssue)
	case err != nil:
		return a, "", unauthorized(reasonBad, err.Error(), hintIssue)
	}
	// One that was signed and is not known is refused like a forgery.
	a, known := f.passes.admit(c.ID, c.Subject)
	switch {
	case known && a.standing == bus.TokenStateValid:
		return a, c.ID, nil
	case known && a.standing == bus.TokenStateRevoked:
		return a, c.ID, unauthorized(reasonRevoked, "the token was revoked", hintIssue)
	case known && a.standing == bus.TokenStateExpired:
		return a, c.ID, unauthorized(reasonExpired, errExpired.Error(), hintIssue)
	}
	return a, c.ID, unauthorized(reasonBad, errToken.Error(), hintIssue)
}

// farewell says why an admission has ended.
func (f *front) farewell(a admission) *refusal {
	switch f.passes.record(a.pass).State {
	case bus.TokenStateRevoked:
		return unauthorized(reasonRevoked, "the token was revoked", hintIssue)
	case bus.TokenStateVoid:
		return unauthorized(reasonBad, "the token was signed by a device key that is no longer used", hintIssue)
	}
	return unauthorized(reasonExpired, errExpired.Error(), hintIssue)
}

func unauthorized(code bus.Code, message, hint string) *refusal {
	challenge := realm
	if code != reasonNoToken {
		challenge += `, error="invalid_token"`
	}
	return &refusal{status: http.StatusUnauthorized, code: code, message: message, hint: hint, challenge: challenge}
}

// denied counts a refusal and has it told. who is the id of a token that the device
// key has signed, or "".
func (s *Service) denied(reason, who string) {
	s.meter.denied(reason)
	s.denials.Note(denial.Denial{Reason: reason, Who: who})
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
