// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"crypto/ed25519"
	"errors"
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
	issuer        = "blufio"
	audience      = name
	maxTokenBytes = 4096
)

var (
	errToken   = errors.New("the token is not valid")
	errExpired = errors.New("the token has expired")
)

// claims is what a token says. Those of jwt.RegisteredClaims in use: iss, sub,
// aud, exp, iat, jti.
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"` // scopes with a space between; what counts is what the gateway has noted
}

// mint makes and proves tokens with the device key as it is at that moment: the key
// may be changed while the daemon runs. It sits behind a function, so that
// printing the struct cannot show it.
type mint struct {
	key    func() ed25519.PrivateKey
	parser *jwt.Parser
	now    func() time.Time
}

func newMint(key func() ed25519.PrivateKey, now func() time.Time) (*mint, error) {
	if key == nil || len(key()) != ed25519.PrivateKeySize {
		return nil, errors.New("make gateway: there is no Ed25519 device key")
	}
	return &mint{key: key, now: now, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(now))}, nil
}

// public is the half of the device key that proves tokens.
func (m *mint) public() ed25519.PublicKey {
	public, _ := m.key().Public().(ed25519.PublicKey) // it is one
	return public
}

// verify returns what token says if the device key has signed it: with errExpired,
// once. All else is errToken: why a forgery failed is not for its maker.
func (m *mint) verify(token string) (claims, error) {
	if len(token) > maxTokenBytes {
		return claims{}, errToken
	}
	var c claims
	parsed, err := m.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return m.public(), nil })
	// Claims are looked at after the signature, so an expired token was once ours.
	if errors.Is(err, jwt.ErrTokenExpired) && c.Issuer == issuer && slices.Contains(c.Audience, audience) {
		return c, errExpired
	}
	if err != nil || c.ID == "" || !bus.ValidToken(c.Subject) {
		return claims{}, errToken
	}
	if _, critical := parsed.Header["crit"]; critical {
		return claims{}, errToken // it demands an extension, and we know none
	}
	return c, nil
}

// sign makes the token of p. It is void at once if the device key was changed since
// p was made.
func (m *mint) sign(p *pass) (string, error) {
	key := m.key()
	if !p.signer.Equal(key.Public()) {
		return "", errors.New("the device key was changed")
	}
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: p.subject, Audience: jwt.ClaimStrings{audience},
			ExpiresAt: jwt.NewNumericDate(p.expires), IssuedAt: jwt.NewNumericDate(p.issued), ID: p.id,
		},
		Scope: strings.Join(p.scopes, " "),
	}).SignedString(key)
}
