// SPDX-License-Identifier: MIT OR Apache-2.0

package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"
	"time"
)

// do sends a request and reads the whole answer.
func do(t *testing.T, c *http.Client, method, url, body string, header http.Header) (string, error) {
	t.Helper()
	return doWithin(t.Context(), t, c, method, url, body, header)
}

func doWithin(ctx context.Context, t *testing.T, c *http.Client, method, url, body string, header http.Header) (string, error) {
	t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, from)
	if err != nil {
		t.Fatal(err)
	}
	for k := range header {
		req.Header.Set(k, header.Get(k))
	}
	t.Cleanup(c.CloseIdleConnections)
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), err
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestPlaintext(t *testing.T) {
	for raw, refused := range map[string]bool{
		"http://example.com/":          true,
		"http://192.168.1.20:11434/v1": true,
		"http://localhost.example.com": true,
		"http://[fe80::1]/":            true,
		"https://example.com/":         false,
		"http://localhost:1/":          false,
		"http://LOCALHOST.:1/":         false,
		"http://127.0.0.2:1/":          false,
		"http://[::1]:1/":              false,
		"http://[::ffff:127.0.0.1]:1/": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		err = Options{Setting: "openai.allow_plaintext"}.CheckURL(u)
		var p *PlaintextError
		if errors.As(err, &p) != refused || !refused && err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		if refused && !strings.Contains(p.Hint(), "openai.allow_plaintext = true") {
			t.Errorf("%s: the hint is %q", raw, p.Hint())
		}
		if err := (Options{AllowPlaintext: true}).CheckURL(u); err != nil {
			t.Errorf("%s, allowed: %v", raw, err)
		}
	}
	var p *PlaintextError
	if _, err := do(t, New(Options{}), "POST", "http://192.0.2.1/", "secret", nil); !errors.As(err, &p) || p.Host != "192.0.2.1" {
		t.Errorf("the client sent it: %v", err)
	}
}

// A resolver that sends a name of this machine elsewhere finds no connection.
func TestLoopbackNamesStayHere(t *testing.T) {
	for address, ok := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "192.0.2.1:80": false, "[2001:db8::1]:80": false} {
		if err := (Options{}).control("localhost")(t.Context(), "tcp", address, nil); (err == nil) != ok {
			t.Errorf("localhost at %s: %v", address, err)
		}
		if err := (Options{}).control("example.com")(t.Context(), "tcp", address, nil); err != nil {
			t.Errorf("example.com at %s: %v", address, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "other ", r.Header.Get("Authorization")) })
	mux := http.NewServeMux()
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "here ", r.Header.Get("Authorization")) })
	mux.HandleFunc("/near", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/here", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/far", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusTemporaryRedirect) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
	})
	here := serve(t, mux.ServeHTTP)
	key := http.Header{"Authorization": {"Bearer k"}}
	for name, c := range map[string]struct {
		method, path, body string
		header             http.Header
		want, reason       string
	}{
		"within the host":                     {"POST", "/near", "b", key, "here Bearer k", ""},
		"to another host, nothing to lose":    {"GET", "/far", "", nil, "other ", ""},
		"to another host with a key":          {"GET", "/far", "", key, "", "another host"},
		"to another host with another key":    {"GET", "/far", "", http.Header{"X-Api-Key": {"k"}}, "", "another host"},
		"to another host with something said": {"POST", "/far", "b", nil, "", "another host"},
		"for ever":                            {"GET", "/loop", "", nil, "", "3 before"},
	} {
		got, err := do(t, New(Options{}), c.method, here+c.path, c.body, c.header)
		var r *RedirectError
		switch {
		case c.reason == "" && (err != nil || got != c.want):
			t.Errorf("%s: %q, %v", name, got, err)
		case c.reason != "" && (!errors.As(err, &r) || !strings.Contains(r.Error(), c.reason)):
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// trust makes the client trust a test server.
func trust(c *http.Client, s *httptest.Server) {
	c.Transport.(*guard).next.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

func TestTLS(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "in the clear") })
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain, http.StatusFound)
			return
		}
		fmt.Fprint(w, r.Proto)
	}))
	t.Cleanup(s.Close)

	c := New(Options{})
	var unknown *tls.CertificateVerificationError
	if _, err := do(t, c, "GET", s.URL, "", nil); !errors.As(err, &unknown) {
		t.Errorf("a stranger's certificate: %v", err)
	}
	c = New(Options{})
	trust(c, s)
	if got, err := do(t, c, "GET", s.URL, "", nil); err != nil || !strings.HasPrefix(got, "HTTP/") {
		t.Errorf("%q, %v", got, err)
	}
	var r *RedirectError
	if _, err := do(t, c, "GET", s.URL+"/down", "", nil); !errors.As(err, &r) || !strings.Contains(r.Error(), "leaves https") {
		t.Errorf("from https to http: %v", err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	c := New(Options{})
	trust(c, s)
	if _, err := do(t, c, "GET", s.URL, "", nil); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("%v", err)
	}
}

func TestBodyLimit(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := int(r.ContentLength)
		_, _ = w.Write(bytes.Repeat([]byte("x"), n))
	})
	for n, fits := range map[int]bool{0: true, 999: true, 1000: true, 1001: false, 100_000: false} {
		got, err := do(t, New(Options{MaxBody: 1000}), "POST", url, strings.Repeat("a", n), nil)
		var large *TooLargeError
		if fits && (err != nil || len(got) != n) || !fits && (!errors.As(err, &large) || len(got) != 1000) {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

func TestSilence(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/within" {
			fmt.Fprint(w, "begun "+r.Proto)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	plain := httptest.NewServer(h)
	two := httptest.NewUnstartedServer(h)
	two.EnableHTTP2 = true
	two.StartTLS()
	for _, s := range []*httptest.Server{plain, two} {
		t.Cleanup(s.Close)
		for path, want := range map[string]string{"/before": "", "/within": "begun HTTP/"} {
			t.Run(s.URL+path, func(t *testing.T) {
				t.Parallel()
				c := New(Options{Silence: time.Second / 2})
				if s == two {
					trust(c, s)
					want = strings.Replace(want, "/", "/2.0", 1)
				}
				got, err := do(t, c, "GET", s.URL+path, "", nil)
				var silent *SilentError
				if !errors.As(err, &silent) || !silent.Timeout() || !strings.HasPrefix(got, want) {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
}

// An answer may take longer than the silence that is allowed, as long as it goes on.
func TestTalkingIsNotSilence(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 40 {
			fmt.Fprint(w, ".")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	if got, err := do(t, New(Options{Silence: time.Second / 2}), "GET", url, "", nil); err != nil || len(got) != 40 {
		t.Errorf("%q, %v", got, err)
	}
}

// The caller's own deadline is not taken for silence.
func TestDeadline(t *testing.T) {
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Options{})
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// What is kept for the next request is counted when it is closed; a request under
// way keeps its connection.
func TestCloseIdle(t *testing.T) {
	release := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-release
		}
	})
	c := New(Options{})
	resp, err := c.Get(url + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	idle := make(chan error, 1) // a moment after the answer is read
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{PutIdleConn: func(err error) { idle <- err }})
	if _, err := doWithin(ctx, t, c, http.MethodGet, url, "", nil); err != nil {
		t.Fatal(err)
	}
	if err := <-idle; err != nil {
		t.Fatal(err)
	}
	if freed := CloseIdle(c); freed != ConnBytes {
		t.Errorf("%d bytes", freed)
	}
	close(release)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the one under way: %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if n := CloseIdle(http.DefaultClient); n != 0 {
		t.Errorf("of another's client %d", n)
	}
}
