// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// TokenSchema names the shape of `blufio token list --json`.
const TokenSchema = "blufio.tokens/1"

// States of a gateway token.
const (
	TokenStateValid   = "valid"
	TokenStateExpired = "expired"
	TokenStateRevoked = "revoked"
	TokenStateVoid    = "void" // signed by a device key that is no longer used
)

// TokenRequest asks for a gateway token.
type TokenRequest struct {
	Subject string   `json:"subject"`        // whose sessions it opens; 1 to 64 of a-z 0-9 - _
	Scopes  []string `json:"scopes"`         // chat, status, metrics, admin
	Seconds int64    `json:"seconds"`        // how long it is valid; at most ten years
	Name    string   `json:"name,omitempty"` // to find it again; 1 to 64 of a-z 0-9 - _
	Rate    *int64   `json:"rate,omitempty"` // requests a minute, 0 for any number; absent: gateway.token_rate
}

// Token is a signed gateway token. The token itself is kept nowhere.
type Token struct {
	Token   string    `json:"token"`
	Subject string    `json:"subject"`
	Expires time.Time `json:"expires"`
	ID      string    `json:"id,omitempty"`
	Name    string    `json:"name,omitempty"`
	Rate    int64     `json:"rate,omitempty"` // requests a minute; absent: any number
}

// TokenQuery asks for a page of the tokens that were issued.
type TokenQuery struct {
	All   bool   `json:"all,omitempty"`   // also those that are no longer valid
	After string `json:"after,omitempty"` // the Next of the page before
	Limit int    `json:"limit,omitempty"` // 1 to 500, default 100
}

// TokenPage answers a TokenQuery, the latest first. Next is absent on the last page.
type TokenPage struct {
	Tokens []TokenRecord `json:"tokens"`
	Next   string        `json:"next,omitempty"`
}

// TokenRecord is what is known of an issued token.
type TokenRecord struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"` // "" where it has none
	Subject  string     `json:"subject"`
	Scopes   []string   `json:"scopes"`
	Rate     int64      `json:"rate"` // requests a minute; 0: any number
	State    string     `json:"state"`
	Issued   time.Time  `json:"issued"`
	Expires  time.Time  `json:"expires"`
	LastUsed *time.Time `json:"last_used"` // to the minute; null: never
	Revoked  *time.Time `json:"revoked"`   // null: it was not
}

// TokenChoice names one token: by its id, the beginning of its id, or its name.
type TokenChoice struct {
	Token string `json:"token"`
}

// TokenFact: a token was issued or revoked.
type TokenFact struct {
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`
	Subject string    `json:"subject"`
	Scopes  []string  `json:"scopes"`
	Expires time.Time `json:"expires"`
}
