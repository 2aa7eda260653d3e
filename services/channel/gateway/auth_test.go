// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/golang-jwt/jwt/v5"
)

// forge signs what it is given.
func forge(t *testing.T, method jwt.SigningMethod, key any, c jwt.Claims, header ...string) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	for _, h := range header {
		token.Header[h] = []string{h}
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// respell sets a bit of the last character that encodes nothing.
func respell(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(token) - 1
	return token[:last] + string(alphabet[strings.IndexByte(alphabet, token[last])|1])
}

func TestForgedTokens(t *testing.T) {
	r := start(t)
	key := r.bus.Device().Private()
	public := key.Public().(ed25519.PublicKey)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	issued := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat", "status"}, Seconds: 3600})
	with := func(change func(c *claims)) claims {
		c := claims{RegisteredClaims: jwt.RegisteredClaims{Issuer: "blufio", Subject: "me", ID: issued.ID, Audience: jwt.ClaimStrings{"gateway"},
			ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)), IssuedAt: jwt.NewNumericDate(now)}, Scope: "chat status"}
		if change != nil {
			change(&c)
		}
		return c
	}
	sign := func(change func(c *claims)) string { return forge(t, jwt.SigningMethodEdDSA, key, with(change)) }
	good := sign(nil)
	parts := strings.Split(good, ".")
	past := jwt.NewNumericDate(now.Add(-time.Second))
	tests := []struct {
		name, header string
		status       int
		code         string
	}{
		{"good", "Bearer " + good, 404, "not_found"},
		{"scheme in lower case", "bearer " + good, 404, "not_found"},
		{"nothing", "", 401, "no_token"},
		{"empty", "Bearer ", 401, "bad_token"},
		{"basic", "Basic " + good, 401, "bad_token"},
		{"garbage", "Bearer garbage", 401, "bad_token"},
		{"two dots", "Bearer ..", 401, "bad_token"},
		{"alg none", "Bearer " + forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, with(nil)), 401, "bad_token"},
		{"HS256 with the public key", "Bearer " + forge(t, jwt.SigningMethodHS256, []byte(public), with(nil)), 401, "bad_token"},
		{"HS256 with the public key as text", "Bearer " + forge(t, jwt.SigningMethodHS256, []byte(r.bus.Device().PublicKey()), with(nil)), 401, "bad_token"},
		{"another key", "Bearer " + forge(t, jwt.SigningMethodEdDSA, stranger, with(nil)), 401, "bad_token"},
		{"another key, expired", "Bearer " + forge(t, jwt.SigningMethodEdDSA, stranger, with(func(c *claims) { c.ExpiresAt = past })), 401, "bad_token"},
		{"no signature", "Bearer " + parts[0] + "." + parts[1] + ".", 401, "bad_token"},
		{"signature spelled otherwise", "Bearer " + respell(good), 401, "bad_token"},
		{"padding", "Bearer " + good + "=", 401, "bad_token"},
		{"other claims under the signature", "Bearer " + parts[0] + "." + strings.Split(sign(func(c *claims) { c.Subject = "you" }), ".")[1] + "." + parts[2], 401, "bad_token"},
		{"expired", "Bearer " + sign(func(c *claims) { c.ExpiresAt = past }), 401, "expired_token"},
		{"no exp", "Bearer " + sign(func(c *claims) { c.ExpiresAt = nil }), 401, "bad_token"},
		{"other audience", "Bearer " + sign(func(c *claims) { c.Audience = jwt.ClaimStrings{"hub"} }), 401, "bad_token"},
		{"other audience, expired", "Bearer " + sign(func(c *claims) { c.Audience, c.ExpiresAt = jwt.ClaimStrings{"hub"}, past }), 401, "bad_token"},
		{"no audience", "Bearer " + sign(func(c *claims) { c.Audience = nil }), 401, "bad_token"},
		{"other issuer", "Bearer " + sign(func(c *claims) { c.Issuer = "else" }), 401, "bad_token"},
		{"not yet", "Bearer " + sign(func(c *claims) { c.NotBefore = jwt.NewNumericDate(now.Add(time.Hour)) }), 401, "bad_token"},
		{"no subject", "Bearer " + sign(func(c *claims) { c.Subject = "" }), 401, "bad_token"},
		{"odd subject", "Bearer " + sign(func(c *claims) { c.Subject = "me/you" }), 401, "bad_token"},
		{"demands an extension", "Bearer " + forge(t, jwt.SigningMethodEdDSA, key, with(nil), "crit"), 401, "bad_token"},
		{"too long", "Bearer " + sign(func(c *claims) { c.ID = strings.Repeat("x", 4096) }), 401, "bad_token"},
		{"no id", "Bearer " + sign(func(c *claims) { c.ID = "" }), 401, "bad_token"},
		{"signed, but never issued", "Bearer " + sign(func(c *claims) { c.ID = "aaaaaaaaaaaaaaaa" }), 401, "bad_token"},
		{"signed for another subject", "Bearer " + sign(func(c *claims) { c.Subject = "you" }), 401, "bad_token"},
		{"other scope", "Bearer " + r.token("me", "status", "metrics", "admin"), 403, "scope"},
		{"scope that was not issued", "Bearer " + forge(t, jwt.SigningMethodEdDSA, key, claims{Scope: "chat", RegisteredClaims: jwt.RegisteredClaims{
			Issuer: "blufio", Subject: "me", ID: r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"admin"}, Seconds: 60}).ID,
			Audience: jwt.ClaimStrings{"gateway"}, ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour))}}), 403, "scope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if tt.header != "" {
				header = []string{"Authorization", tt.header}
			}
			a := r.do("GET", "/v1/messages/none", "", header...)
			if code, _, _ := a.failure(t); a.status != tt.status || code != tt.code {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
	if a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+good, "Authorization", "Bearer "+good); a.status != 401 {
		t.Errorf("two headers: %d %s", a.status, a.body)
	}
}

func TestIssue(t *testing.T) {
	r := start(t)
	cli := r.bus.Operator(t, bus.TokenIssue)
	tests := []struct {
		name string
		req  bus.TokenRequest
		code bus.Code
	}{
		{"fine", bus.TokenRequest{Subject: "me", Scopes: []string{"status", "chat", "chat"}, Seconds: 60}, ""},
		{"ten years", bus.TokenRequest{Subject: "a-b_9", Scopes: []string{"metrics", "admin"}, Seconds: maxTokenSeconds}, ""},
		{"one second", bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 1}, ""},
		{"no subject", bus.TokenRequest{Scopes: []string{"chat"}, Seconds: 60}, bus.CodeInvalid},
		{"named", bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 60, Name: "phone", Rate: new(int64(5))}, ""},
		{"odd name", bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 60, Name: "My phone"}, bus.CodeInvalid},
		{"negative rate", bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 60, Rate: new(int64(-1))}, bus.CodeInvalid},
		{"absurd rate", bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 60, Rate: new(int64(maxTokenRate + 1))}, bus.CodeInvalid},
		{"odd subject", bus.TokenRequest{Subject: "Me!", Scopes: []string{"chat"}, Seconds: 60}, bus.CodeInvalid},
		{"no scope", bus.TokenRequest{Subject: "me", Seconds: 60}, bus.CodeInvalid},
		{"unknown scope", bus.TokenRequest{Subject: "me", Scopes: []string{"chat", "all"}, Seconds: 60}, bus.CodeInvalid},
		{"no time", bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}}, bus.CodeInvalid},
		{"too long", bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: maxTokenSeconds + 1}, bus.CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := time.Now()
			got, err := bus.TokenIssue.Ask(t.Context(), cli, tt.req)
			if bus.CodeOf(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				var e *bus.Error
				if !errors.As(err, &e) || e.Hint == "" {
					t.Errorf("no hint: %v", err)
				}
				return
			}
			c, err := r.service.mint.verify(got.Token)
			if err != nil || c.Subject != tt.req.Subject || got.Subject != tt.req.Subject || c.ID != got.ID || got.Name != tt.req.Name {
				t.Fatalf("%+v: %v", c, err)
			}
			if tt.name == "fine" && c.Scope != "chat status" {
				t.Errorf("scopes %v", c.Scope)
			}
			if want := tt.req.Rate; want == nil && got.Rate != int64(r.service.cfg.TokenRate) || want != nil && got.Rate != *want {
				t.Errorf("rate %d", got.Rate)
			}
			if late := got.Expires.Sub(asked) - time.Duration(tt.req.Seconds)*time.Second; late > 2*time.Second || late < 0 {
				t.Errorf("expires %s late", late)
			}
		})
	}
}

func TestMetricsRoute(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		scopes []string
		status int
	}{
		{"loopback", func(*Config) {}, nil, 200},
		{"proxy", func(c *Config) { c.BehindProxy = true }, nil, 401},
		{"proxy, other scope", func(c *Config) { c.BehindProxy = true }, []string{"chat", "status", "admin"}, 403},
		{"proxy, scope", func(c *Config) { c.BehindProxy = true }, []string{"metrics"}, 200},
		{"proxy, open", func(c *Config) { c.BehindProxy, c.MetricsOpen = true, true }, nil, 200},
		{"any address behind a proxy", func(c *Config) { c.BehindProxy, c.Listen = true, "0.0.0.0:0" }, nil, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.change)
			var header []string
			if tt.scopes != nil {
				header = []string{"Authorization", "Bearer " + r.token("prometheus", tt.scopes...)}
			}
			if a := r.do("GET", "/metrics", "", header...); a.status != tt.status {
				t.Errorf("got %d %.200s", a.status, a.body)
			}
		})
	}
}

func TestMetricsAreThereFromTheStart(t *testing.T) {
	r := start(t)
	a := r.do("GET", "/metrics", "", "Accept-Encoding", "gzip")
	for _, want := range []string{
		`blufio_gateway_requests_total{code="2xx",route="/v1/messages"} 0`,
		`blufio_gateway_requests_total{code="5xx",route="other"} 0`,
		`blufio_gateway_request_seconds_count{route="/v1/sessions/{id}/messages"} 0`,
		`blufio_gateway_denied_total{reason="expired_token"} 0`,
		`blufio_gateway_connections 1`, `blufio_gateway_connections_limit 256`,
		`blufio_gateway_waiters 0`, `blufio_gateway_waiters_limit 128`,
	} {
		if !strings.Contains(a.body, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
	r.do("GET", "/v1/sessions", "")
	a = r.do("GET", "/metrics", "")
	for _, want := range []string{`blufio_gateway_requests_total{code="4xx",route="/v1/sessions"} 1`, `blufio_gateway_denied_total{reason="no_token"} 1`} {
		if !strings.Contains(a.body, want+"\n") {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestSlowdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowdown(300*time.Millisecond, time.Now)
		a, b := netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32")
		took := func(addr netip.Prefix) time.Duration {
			begun := time.Now()
			if !s.wait(t.Context(), nil, addr) {
				t.Error("refused")
			}
			return time.Since(begun)
		}
		for i, want := range []time.Duration{0, 50, 100, 200, 300, 300} {
			if got := took(a); got != want*time.Millisecond {
				t.Errorf("failure %d took %s, want %d ms", i+1, got, want)
			}
		}
		if got := took(b); got != 0 {
			t.Errorf("another address waits %s", got)
		}
		time.Sleep(forgiveAfter + 1)
		if got := took(a); got != 0 {
			t.Errorf("never forgiven: %s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		if s.wait(ctx, nil, a); time.Since(begun) != 0 {
			t.Error("waits for a caller who has gone")
		}
		stop := make(chan struct{})
		close(stop)
		if s.wait(t.Context(), stop, a); time.Since(begun) != 0 {
			t.Error("waits after the end")
		}
		for range maxSlowed {
			s.slots <- struct{}{}
		}
		if s.wait(t.Context(), nil, a) {
			t.Error("more wait than may")
		}
		for i := range 3 * maxRemotes {
			s.fail(netip.PrefixFrom(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}), 32))
		}
		if len(s.byAddr) != maxRemotes || s.recency.Len() != maxRemotes || s.byAddr[a] != nil {
			t.Errorf("%d addresses are remembered", len(s.byAddr))
		}
	})
}

// However slow failures are, a valid token from the same address is not.
func TestValidTokenIsNotSlowed(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxAuthDelay = 30 * time.Second })
	for range 40 {
		r.service.slow.fail(netip.MustParsePrefix("127.0.0.1/32"))
	}
	begun := time.Now()
	if a := r.get("/v1/sessions", "me", "chat"); a.status != 200 || time.Since(begun) > 5*time.Second {
		t.Errorf("got %d after %s", a.status, time.Since(begun))
	}
	for range maxSlowed {
		r.service.slow.slots <- struct{}{}
	}
	a := r.do("GET", "/v1/sessions", "")
	if code, _, _ := a.failure(t); a.status != 429 || code != "slow_down" || a.header.Get("Retry-After") != "1" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if a := r.get("/v1/sessions", "me", "chat"); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestDenialsAreRecorded(t *testing.T) {
	r := start(t)
	r.do("GET", "/v1/sessions", "")
	r.do("GET", "/v1/sessions", "", "Authorization", "Bearer x")
	r.do("GET", "/v1/sessions", "", "Authorization", "Bearer x")
	r.stop()
	rows, err := r.events.After(context.WithoutCancel(t.Context()), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, row := range rows {
		all += row.Subject + string(row.Payload)
	}
	if !strings.Contains(all, "evt.security.denied") || !strings.Contains(all, `"no_token","count":1`) || !strings.Contains(all, `"bad_token"`) {
		t.Errorf("recorded %s", all)
	}
}
