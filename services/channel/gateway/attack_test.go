// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/golang-jwt/jwt/v5"
)

// falseToken is one that someone without the device key can make, with an id that may
// be known to them.
func falseToken(t *testing.T, key any, id string) string {
	return forge(t, jwt.SigningMethodEdDSA, key, claims{Scope: "chat", RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Subject: "me", ID: id,
		Audience: jwt.ClaimStrings{audience}, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}})
}

// Thousands of wrong tokens: the owner notices nothing, every one is counted, few
// events tell of them, and nothing is remembered of them but the address.
func TestBruteForce(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxAuthDelay = 20 * time.Millisecond })
	valid := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600, Rate: new(int64(0))})
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	guesses := []string{"", "Bearer x", "Bearer a.b.c", "Basic x", "Bearer " + falseToken(t, stranger, valid.ID), "Bearer " + falseToken(t, stranger, "aaaaaaaaaaaaaaaa"),
		"Bearer " + falseToken(t, r.bus.Device().Private(), "aaaaaaaaaaaaaaaa")} // the last from a database of another time
	const attackers, each = 40, 70
	var slowed, refused atomic.Int64
	var work sync.WaitGroup
	client := newClient(t)
	client.Transport = &http.Transport{MaxIdleConnsPerHost: attackers}
	for range attackers {
		work.Go(func() {
			for i := range each {
				req, err := http.NewRequestWithContext(t.Context(), "GET", r.url+[]string{"/v1/sessions", "/v1/ws", "/v1/models"}[i%3], nil)
				if err != nil {
					t.Error(err)
					return
				}
				switch guess := guesses[i%len(guesses)]; {
				case i%3 == 1 && strings.HasPrefix(guess, "Bearer "):
					req.Header.Set("Sec-WebSocket-Protocol", strings.Replace(guess, "Bearer ", "bearer.", 1))
				case guess != "":
					req.Header.Set("Authorization", guess)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				switch resp.StatusCode {
				case http.StatusUnauthorized:
					slowed.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				default:
					t.Errorf("a wrong token gets %s", resp.Status)
				}
			}
		})
	}
	attacked := make(chan struct{})
	go func() { defer close(attacked); work.Wait() }()
	var slowest time.Duration
	for asked := 0; ; asked++ {
		begun := time.Now()
		if a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+valid.Token); a.status != 200 {
			t.Fatalf("the owner gets %d %s", a.status, a.body)
		}
		slowest = max(slowest, time.Since(begun))
		if closed(attacked) && asked >= 20 {
			break
		}
	}
	if slowest > 5*time.Second {
		t.Errorf("the owner waits for %s", slowest)
	}
	if n := slowed.Load() + refused.Load(); n != attackers*each || slowed.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d slowed, %d refused", slowed.Load(), refused.Load())
	}
	t.Logf("%d slowed, %d refused, the owner's slowest answer %s", slowed.Load(), refused.Load(), slowest)
	s := r.service
	if len(s.slow.byAddr) != 1 || len(s.slow.slots) != 0 || len(s.passes.byID) != 1 {
		t.Errorf("remembered: %d addresses, %d slots, %d tokens", len(s.slow.byAddr), len(s.slow.slots), len(s.passes.byID))
	}
	none := 0 // of each attacker's, without a header
	for i := range each {
		if guesses[i%len(guesses)] == "" {
			none++
		}
	}
	want := map[string]int{reasonNoToken: attackers * none, reasonBad: attackers * (each - none)}
	metrics := r.do("GET", "/metrics", "").body
	for reason, n := range want {
		if !strings.Contains(metrics, fmt.Sprintf("blufio_gateway_denied_total{reason=%q} %d\n", reason, n)) {
			t.Errorf("not counted: %d of %s", n, reason)
		}
	}
	r.stop()
	told, told1 := map[string]int{}, facts(r, bus.AccessDenied)
	for _, d := range told1 {
		told[d.Reason] += int(d.Count)
	}
	if fmt.Sprint(told) != fmt.Sprint(want) || len(told1) > 9 {
		t.Errorf("%d events tell %v, want %v", len(told1), told, want)
	}
}

// Nobody learns from the answer what was wrong with a token he cannot have made.
func TestForgeriesLookAlike(t *testing.T) {
	r := start(t)
	known := r.issue(bus.TokenRequest{Subject: "me", Scopes: []string{"chat"}, Seconds: 3600}).ID
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var first answer
	for i, token := range []string{falseToken(t, stranger, known), falseToken(t, stranger, "aaaaaaaaaaaaaaaa"), falseToken(t, r.bus.Device().Private(), "aaaaaaaaaaaaaaaa"), "x", "a.b.c"} {
		a := r.do("GET", "/v1/sessions", "", "Authorization", "Bearer "+token)
		for _, h := range []string{traceHeader, "Date"} {
			a.header.Del(h)
		}
		if i == 0 {
			first = a
		}
		if a.status != 401 || a.body != first.body || fmt.Sprint(a.header) != fmt.Sprint(first.header) {
			t.Errorf("%d: %d %s%v", i, a.status, a.body, a.header)
		}
	}
}

// Requests that are sent together on one connection are slowed one after another.
func TestPipelinedFailures(t *testing.T) {
	const each = 30 * time.Millisecond
	r := start(t, func(c *Config) { c.MaxAuthDelay = each })
	c := r.dial()
	begun := time.Now()
	const n = 6
	fmt.Fprint(c, strings.Repeat("GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n", n))
	answers := bufio.NewReader(c)
	for i := range n {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != 401 {
			t.Errorf("answer %d: %s", i, resp.Status)
		}
	}
	if took := time.Since(begun); took < (n-1)*each {
		t.Errorf("all that took %s", took)
	}
}

func TestRemote(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7:1":              "192.0.2.7/32",
		"[::ffff:192.0.2.7]:1":     "192.0.2.7/32",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64",
		"[2001:db8:1:2::9]:2":      "2001:db8:1:2::/64",
		"[2001:db8:1:3::9]:2":      "2001:db8:1:3::/64",
		"[fe80::1%eth0]:1":         "fe80::/64",
		"@":                        "invalid Prefix",
	} {
		if got := remote(&request{Request: &http.Request{RemoteAddr: addr}}).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

// Who has many addresses is slowed as if he had one.
func TestManyAddressesAreSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowdown(2*time.Second, time.Now)
		price := func(i int) time.Duration {
			return s.fail(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0, 0, 0, 0, byte(i >> 8), byte(i)}), 64))
		}
		for i := range fewFailures + 1 {
			if got := price(i); got != 0 {
				t.Fatalf("failure %d costs %s", i, got)
			}
		}
		for i := range 2 * maxRemotes {
			if got := price(i + 1000); got == 0 || i > 10 && got != s.most {
				t.Fatalf("failure %d costs %s", i, got)
			}
		}
		time.Sleep(forgiveAfter + 1)
		if got := price(1); got != 0 {
			t.Errorf("never forgiven: %s", got)
		}
	})
}

// A page that the owner happens to look at can do nothing here, whatever it tries.
func TestHostilePage(t *testing.T) {
	r := start(t)
	port := r.url[strings.LastIndexByte(r.url, ':'):]
	bearer := []string{"Authorization", "Bearer " + r.token("me", "chat", "status")} // even if it had one
	tests := []struct {
		name, method, path, body string
		header                   []string
	}{
		{"rebound name", "POST", "/v1/messages", `{"text":"x"}`, []string{"Host", "evil.example" + port, "Origin", "http://evil.example" + port, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/json"}},
		{"rebound name, without an origin", "GET", "/v1/sessions", "", []string{"Host", "evil.example" + port}},
		{"form", "POST", "/v1/messages", `{"text":"x"}`, []string{"Origin", "http://evil.example", "Content-Type", "text/plain"}},
		{"form of a file or a sandbox", "POST", "/v1/messages", `{"text":"x"}`, []string{"Origin", "null", "Content-Type", "text/plain"}},
		{"form, as old browsers send it", "POST", "/v1/messages", `{"text":"x"}`, []string{"Content-Type", "text/plain", "Sec-Fetch-Site", "cross-site"}},
		{"page of another port", "POST", "/v1/messages", `{"text":"x"}`, []string{"Origin", "http://127.0.0.1:8080", "Sec-Fetch-Site", "same-site", "Content-Type", "application/json"}},
		{"page of the TLS site", "GET", "/v1/sessions", "", []string{"Origin", "https://127.0.0.1" + port}},
		{"two origins", "GET", "/v1/sessions", "", []string{"Origin", "http://evil.example " + r.url}},
		{"origin with a user", "GET", "/v1/sessions", "", []string{"Origin", "http://127.0.0.1" + port + "@evil.example"}},
		{"preflight", "OPTIONS", "/v1/messages", "", []string{"Origin", "http://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"}},
		{"preflight into a private network", "OPTIONS", "/v1/messages", "", []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Private-Network", "true"}},
		{"image", "GET", "/metrics", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}},
		{"link", "GET", "/v1/events", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}},
		{"all addresses", "GET", "/health", "", []string{"Host", "0.0.0.0" + port, "Origin", "http://0.0.0.0" + port}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.do(tt.method, tt.path, tt.body, append(bearer, tt.header...)...)
			if code, _, _ := a.failure(t); a.status != 403 || code != reasonHost && code != reasonOrigin {
				t.Errorf("got %d %s", a.status, a.body)
			}
			for h := range a.header {
				if strings.HasPrefix(h, "Access-Control-") {
					t.Errorf("%s: %s", h, a.header.Get(h))
				}
			}
			if got := a.header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" {
				t.Errorf("Cross-Origin-Resource-Policy: %s", got)
			}
		})
	}
	for _, origin := range []string{"http://evil.example", "null", "http://127.0.0.1:1", "http://evil.example" + port} {
		if p, resp := r.connect([]string{"blufio", "bearer." + r.token("me", "chat")}, "Origin", origin); p != nil || resp.StatusCode != 403 {
			t.Errorf("a socket for the page %s: %s", origin, resp.Status)
		}
	}
	// An own page's preflight grants nothing either: it needs none.
	if a := r.do("OPTIONS", "/v1/messages", "", "Origin", r.url, "Access-Control-Request-Method", "POST"); a.status != 401 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("own preflight: %d %v", a.status, a.header)
	}
	// A form without any sign of a page is no JSON.
	if a := r.do("POST", "/v1/messages", `{"text":"x"}`, append(bearer, "Content-Type", "text/plain")...); a.status != 415 {
		t.Errorf("text: %d %s", a.status, a.body)
	}
	if len(r.agent.order) != 0 {
		t.Errorf("the agent was given %d messages", len(r.agent.order))
	}
	r.stop()
	told := map[string]int64{}
	for _, d := range facts(r, bus.AccessDenied) {
		told[d.Reason] += d.Count
	}
	if told[reasonHost] != 3 || told[reasonOrigin] != int64(len(tests)-3+4) {
		t.Errorf("told %v", told)
	}
}
