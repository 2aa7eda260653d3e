// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/golang-jwt/jwt/v5"
)

// Scopes of a token. None includes another; admin opens no route yet.
const (
	scopeChat    = "chat"
	scopeStatus  = "status"
	scopeMetrics = "metrics"
	scopeAdmin   = "admin"
)

const (
	issuer          = "blufio"
	audience        = name
	maxTokenBytes   = 4096
	maxTokenSeconds = 10 * 365 * 24 * 60 * 60
)

var (
	errToken   = errors.New("the token is not valid")
	errExpired = errors.New("the token has expired")
)

// claims is what a token says. Those of jwt.RegisteredClaims in use: iss, sub,
// aud, exp, iat, jti.
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"` // scopes with a space between
}

// identity is what a valid token proves.
type identity struct {
	subject string
	scopes  []string
	expires time.Time
}

// tokens makes and proves tokens. The private key sits behind a function: it may be
// replaced, and printing the struct cannot show it.
type tokens struct {
	key    func() ed25519.PrivateKey
	parser *jwt.Parser
	now    func() time.Time
}

func newTokens(key func() ed25519.PrivateKey, now func() time.Time) *tokens {
	return &tokens{
		key: key, now: now,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
			jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
			jwt.WithStrictDecoding(), jwt.WithTimeFunc(now)),
	}
}

// verify returns what token proves, errExpired, or errToken for all else: why
// a forgery failed is not for its maker.
func (t *tokens) verify(token string) (identity, error) {
	if len(token) > maxTokenBytes {
		return identity{}, errToken
	}
	var c claims
	parsed, err := t.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return t.key().Public(), nil })
	// Claims are looked at after the signature, so an expired token was once ours.
	if errors.Is(err, jwt.ErrTokenExpired) && c.Issuer == issuer && slices.Contains(c.Audience, audience) {
		return identity{}, errExpired
	}
	if err != nil || !bus.ValidToken(c.Subject) {
		return identity{}, errToken
	}
	if _, critical := parsed.Header["crit"]; critical {
		return identity{}, errToken // it demands an extension, and we know none
	}
	return identity{subject: c.Subject, scopes: strings.Fields(c.Scope), expires: c.ExpiresAt.Time}, nil
}

// make signs a token for subject that holds until expires, a whole second.
func (t *tokens) make(subject string, scopes []string, expires time.Time) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: subject, Audience: jwt.ClaimStrings{audience},
			ExpiresAt: jwt.NewNumericDate(expires), IssuedAt: jwt.NewNumericDate(t.now()), ID: rand.Text(),
		},
		Scope: strings.Join(scopes, " "),
	}).SignedString(t.key())
}

// issue answers ctl.token.issue.
func (s *Service) issue(_ context.Context, r bus.TokenRequest) (bus.Token, error) {
	if !bus.ValidToken(r.Subject) {
		return bus.Token{}, bus.Errorf(bus.CodeInvalid, "the subject %q cannot be used", shorten(r.Subject)).
			WithHint("use 1 to 64 of a-z, 0-9, - and _")
	}
	scopes, err := knownScopes(r.Scopes)
	if err != nil {
		return bus.Token{}, err
	}
	if r.Seconds < 1 || r.Seconds > maxTokenSeconds {
		return bus.Token{}, bus.Errorf(bus.CodeInvalid, "a token cannot be valid for %d seconds", r.Seconds).
			WithHint("use at least one second and at most ten years")
	}
	// A token counts in whole seconds: rounded up, so that it holds as long as promised.
	expires := s.now().Add(time.Duration(r.Seconds)*time.Second + time.Second - 1).Truncate(time.Second)
	token, err := s.tokens.make(r.Subject, scopes, expires)
	if err != nil {
		return bus.Token{}, fmt.Errorf("sign token: %w", err)
	}
	return bus.Token{Token: token, Subject: r.Subject, Expires: expires.UTC()}, nil
}

// knownScopes returns asked in a fixed order and each once.
func knownScopes(asked []string) ([]string, error) {
	all := []string{scopeChat, scopeStatus, scopeMetrics, scopeAdmin}
	for _, scope := range asked {
		if !slices.Contains(all, scope) {
			return nil, bus.Errorf(bus.CodeInvalid, "there is no scope %q", shorten(scope)).WithHint("use some of: %s", strings.Join(all, ", "))
		}
	}
	if len(asked) == 0 {
		return nil, bus.Errorf(bus.CodeInvalid, "a token needs a scope").WithHint("use some of: %s", strings.Join(all, ", "))
	}
	return slices.DeleteFunc(all, func(scope string) bool { return !slices.Contains(asked, scope) }), nil
}
