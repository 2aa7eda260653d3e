// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus"
)

func TestGuard(t *testing.T) {
	r := start(t)
	port := r.url[strings.LastIndexByte(r.url, ':'):]
	proxied := start(t, func(c *Config) { c.BehindProxy = true })
	tests := []struct {
		name   string
		header []string
		code   string // "" passes
	}{
		{"address", nil, ""},
		{"localhost", []string{"Host", "localhost" + port}, ""},
		{"localhost without port", []string{"Host", "LOCALHOST."}, ""},
		{"IPv6", []string{"Host", "[::1]" + port}, ""},
		{"IPv6 without port", []string{"Host", "[::1]"}, ""},
		{"another loopback address", []string{"Host", "127.8.8.8"}, ""},
		{"rebound name", []string{"Host", "evil.example" + port}, "host"},
		{"name that looks like it", []string{"Host", "localhost.evil.example"}, "host"},
		{"address that looks like it", []string{"Host", "127.0.0.1.evil.example"}, "host"},
		{"another address", []string{"Host", "192.168.1.1"}, "host"},
		{"all addresses", []string{"Host", "0.0.0.0"}, "host"},
		{"own origin", []string{"Origin", r.url}, ""},
		{"other origin", []string{"Origin", "http://evil.example"}, "origin"},
		{"other port", []string{"Origin", "http://127.0.0.1:1"}, "origin"},
		{"other scheme", []string{"Origin", strings.Replace(r.url, "http", "https", 1)}, "origin"},
		{"hidden origin", []string{"Origin", "null"}, "origin"},
		{"cross-site", []string{"Sec-Fetch-Site", "cross-site"}, "origin"},
		{"same-site", []string{"Sec-Fetch-Site", "same-site"}, "origin"},
		{"same-origin", []string{"Sec-Fetch-Site", "same-origin"}, ""},
		{"typed in", []string{"Sec-Fetch-Site", "none"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/health", "/metrics", "/v1/sessions", "/nothing"} {
				a := r.do("GET", path, "", tt.header...)
				refused := a.status == 403
				if refused != (tt.code != "") {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				} else if refused {
					if code, _, hint := a.failure(t); code != tt.code || hint == "" {
						t.Errorf("%s: %s", path, a.body)
					}
				}
			}
			if a := proxied.do("GET", "/health", "", tt.header...); a.status == 403 {
				t.Errorf("behind a proxy: %d %s", a.status, a.body)
			}
		})
	}
}

func TestPulse(t *testing.T) {
	base := time.Unix(1_000_000, 0)
	h := bus.Health{Time: base, State: bus.Healthy, Checks: []bus.HealthCheck{{Name: "database", OK: true}}}
	tests := []struct {
		name  string
		heard func(*pulse)
		at    time.Duration
		state string
	}{
		{"nothing yet", func(*pulse) {}, 0, bus.Degraded},
		{"fresh", func(p *pulse) { p.hear(h, base) }, 3 * time.Second, bus.Healthy},
		{"stale", func(p *pulse) { p.hear(h, base) }, 3*time.Second + 1, bus.Degraded},
		{"late on the way", func(p *pulse) { p.hear(h, base.Add(4*time.Second)) }, 4 * time.Second, bus.Degraded},
		{"clock set back", func(p *pulse) { p.hear(bus.Health{Time: base.Add(time.Hour), State: bus.Healthy}, base) }, 4 * time.Second, bus.Degraded},
		{"degraded", func(p *pulse) { p.hear(bus.Health{Time: base, State: bus.Degraded}, base) }, 0, bus.Degraded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pulse
			tt.heard(&p)
			got := p.report(base.Add(tt.at))
			if got.State != tt.state || got.Checks == nil {
				t.Errorf("got %+v", got)
			}
			if strings.HasPrefix(tt.name, "stale") && (len(got.Checks) != 2 || !strings.Contains(got.Checks[1].Detail, "stale evidence")) {
				t.Errorf("checks %+v", got.Checks)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	r := start(t)
	if a := r.do("GET", "/health", ""); a.status != 503 || !strings.Contains(a.body, "no evidence yet") {
		t.Errorf("before the first pulse: %d %s", a.status, a.body)
	}
	control := r.bus.Connect(t, "control", bus.Pulse)
	var a answer
	bustest.Eventually(t, "it is healthy", func() bool { // a live event says nothing of its arrival
		err := bus.Pulse.Publish(control, bus.Health{Time: time.Now(), State: bus.Healthy, Checks: []bus.HealthCheck{{Name: "database", OK: true}}})
		if err != nil {
			t.Fatal(err)
		}
		a = r.do("GET", "/health", "")
		return a.status == 200
	}, func() any { return a.body })
	var h bus.Health
	if a.decode(t, &h); h.State != bus.Healthy || len(h.Checks) != 1 {
		t.Errorf("got %s", a.body)
	}
	if a := r.do("HEAD", "/health", ""); a.status != 200 || a.body != "" || a.header.Get("Content-Length") == "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
}

func TestSlowHeadIsCutOff(t *testing.T) {
	r := start(t, func(c *Config) { c.HeaderTimeout = 50 * time.Millisecond })
	c := r.dial()
	fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	if _, err := io.ReadAll(c); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("not closed by the server: %v", err)
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	r := start(t, func(c *Config) { c.HeaderTimeout, c.ReadTimeout = 50*time.Millisecond, 100*time.Millisecond })
	c := r.dial()
	fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nAuthorization: Bearer %s\r\n\r\n{", r.token("me", "chat"))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("got %s", resp.Status)
	}
}

func TestLargeHead(t *testing.T) {
	r := start(t)
	if a := r.do("GET", "/health", "", "X-Large", strings.Repeat("x", 32<<10)); a.status != 431 {
		t.Errorf("got %d", a.status)
	}
}

func TestConnectionLimit(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxConnections = 2 })
	ask := func(c net.Conn) error {
		fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err
	}
	first, second, third := r.dial(), r.dial(), r.dial()
	for _, c := range []net.Conn{first, second} {
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.service.meter.connections.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
	answered := make(chan error, 1)
	go func() { answered <- ask(third) }()
	select {
	case err := <-answered:
		t.Fatalf("the third is served (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	if err := <-answered; err != nil {
		t.Errorf("the third is never served: %v", err)
	}
}

// A client that says nothing must not hold up the end.
func TestDrainDropsSilentConnections(t *testing.T) {
	r := start(t)
	r.dial()
	r.do("GET", "/health", "") // accepted after the silent one
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func TestConfigIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		key    string // "" is accepted
	}{
		{"defaults", func(*Config) {}, ""},
		{"localhost", func(c *Config) { c.Listen = "localhost:0" }, ""},
		{"IPv6", func(c *Config) { c.Listen = "[::1]:0" }, ""},
		{"all addresses", func(c *Config) { c.Listen = ":3000" }, "listen"},
		{"all addresses, spelled", func(c *Config) { c.Listen = "0.0.0.0:3000" }, "listen"},
		{"a name", func(c *Config) { c.Listen = "home.example:3000" }, "listen"},
		{"all addresses behind a proxy", func(c *Config) { c.Listen, c.BehindProxy = ":3000", true }, ""},
		{"no port", func(c *Config) { c.Listen = "127.0.0.1" }, "listen"},
		{"no such port", func(c *Config) { c.Listen = "127.0.0.1:70000" }, "listen"},
		{"certificate without key", func(c *Config) { c.TLSCert = "x" }, "tls_key"},
		{"key without certificate", func(c *Config) { c.TLSKey = "x" }, "tls_cert"},
		{"no such certificate", func(c *Config) { c.TLSCert, c.TLSKey = "/nonexistent", "/nonexistent" }, "tls_cert"},
	}
	b := bustest.New(t)
	store := roomtest.Store(t, Schema)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Defaults()
			tt.change(&cfg)
			_, err := New(cfg, Deps{Key: b.Device().Private, Store: store, Events: eventlog.New(store), Metrics: prometheus.NewRegistry(), Logger: bustest.Logger(t)})
			var refused *ConfigError
			switch {
			case tt.key == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.key != "" && (!errors.As(err, &refused) || refused.Key != tt.key || refused.Hint == ""):
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	r := start(t)
	address := strings.TrimPrefix(r.url, "http://")
	s, _ := newService(t, r.bus, roomtest.Store(t, Schema), func(c *Config) { c.Listen = address })
	err := s.Run(t.Context(), r.bus.Connect(t, "second"), func() { t.Error("ready") })
	if !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writeCert(t, certFile, keyFile, 1, time.Now().Add(24*time.Hour))
	r := start(t, func(c *Config) { c.Listen, c.TLSCert, c.TLSKey = "0.0.0.0:0", certFile, keyFile })
	clock := &fakeClock{at: time.Now()}
	r.service.certs.mu.Lock()
	r.service.certs.now = clock.now
	r.service.certs.mu.Unlock()
	serial := func() int64 {
		t.Helper()
		r.client = newClient(t)
		r.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // its name is not the point
		resp, err := r.client.Get(r.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 401 || resp.ProtoMajor != 1 {
			t.Errorf("%s %s", resp.Proto, resp.Status)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 || !strings.HasPrefix(r.url, "https://127.0.0.1:") {
		t.Errorf("certificate %d at %s", got, r.url)
	}
	if p := r.service.health(); len(p) != 1 || p[0].Code != "tls_expiring" {
		t.Errorf("problems: %v", p)
	}
	writeCert(t, certFile, keyFile, 2, time.Now().Add(1000*time.Hour))
	if got := serial(); got != 1 {
		t.Errorf("looked at before its time: certificate %d", got)
	}
	clock.add(certCheckEvery)
	if got := serial(); got != 2 {
		t.Errorf("not read again: certificate %d", got)
	}
	if p := r.service.health(); len(p) != 0 {
		t.Errorf("problems: %v", p)
	}
	if err := os.WriteFile(certFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock.add(certCheckEvery)
	if got := serial(); got != 2 {
		t.Errorf("a broken file is taken: certificate %d", got)
	}
	if p := r.service.health(); len(p) != 1 || p[0].Code != "tls_unreadable" {
		t.Errorf("problems: %v", p)
	}
	back := certFile + ".old"
	writeCert(t, certFile, keyFile, 3, time.Now().Add(1000*time.Hour))
	clock.add(certCheckEvery)
	r.service.health() // reads the third
	for _, move := range []struct {
		from, to string
		problems int
	}{{certFile, back, 1}, {back, certFile, 0}} {
		if err := os.Rename(move.from, move.to); err != nil {
			t.Fatal(err)
		}
		clock.add(certCheckEvery)
		if p := r.service.health(); len(p) != move.problems {
			t.Errorf("problems after moving %s: %v", move.from, p)
		}
	}
	if c, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

type fakeClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func writeCert(t *testing.T, certFile, keyFile string, serial int64, ends time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: ends, DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		// Two writes within one tick of the file system's clock must differ.
		if err := os.Chtimes(file, time.Time{}, time.Unix(1_700_000_000+serial, 0)); err != nil {
			t.Fatal(err)
		}
	}
}

// Under pressure clients lose the connections that they keep for a next request, but
// not one that is in use, and in a pause none.
func TestShedClosesIdleConnections(t *testing.T) {
	r := startEvery(t, &periods{heartbeat: time.Minute, keepAlive: time.Minute, ping: time.Minute})
	shed := func(level string) int64 {
		t.Helper()
		freed, err := bus.MemoryShed.To(name).Ask(t.Context(), r.bus.Connect(t, "governor", bus.MemoryShed), bus.Shed{Pressure: level})
		if err != nil {
			t.Fatal(err)
		}
		return freed.Bytes
	}
	idle := func() int { f := r.service.front; f.mu.Lock(); defer f.mu.Unlock(); return len(f.idle) }
	waiting := make(chan answer, 1)
	go func() { waiting <- r.post("/v1/messages?wait=10s", "hello") }()
	bustest.Eventually(t, "one waits", func() bool { return r.service.waiters.len() == 1 })
	if a := r.do("GET", "/health", ""); a.status == 0 {
		t.Fatal(a)
	}
	bustest.Eventually(t, "one is idle", func() bool { return idle() == 1 })
	if n := shed(bus.PressureNormal); n != 0 || idle() != 1 {
		t.Errorf("in a pause: %d bytes, %d idle", n, idle())
	}
	if n := shed(bus.PressureWarn); n != connBytes || idle() != 0 {
		t.Errorf("under pressure: %d bytes, %d idle", n, idle())
	}
	bustest.Eventually(t, "it is closed", func() bool { return r.service.meter.connections.Load() == 1 })
	r.agent.mu.Lock()
	id := r.agent.order[0]
	r.agent.mu.Unlock()
	if err := r.agent.reply(id, bus.StateAnswered, "yes"); err != nil {
		t.Fatal(err)
	}
	if a := <-waiting; a.status != http.StatusOK {
		t.Errorf("the one that waited: %+v", a)
	}
}
