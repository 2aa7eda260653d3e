// SPDX-License-Identifier: MIT OR Apache-2.0

package remote

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
)

const key = "sk-test-verySecret0123456789"

// server speaks OpenAI's Embeddings. Its vectors have four numbers, made of the text's length.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
	answer   func(w http.ResponseWriter, r request) bool // reports whether it answered
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	var q request
	if r.Method != http.MethodPost || r.URL.Path != "/v1/embeddings" || json.NewDecoder(r.Body).Decode(&q) != nil || q.Format != "float" {
		http.Error(w, "no such thing", http.StatusNotFound)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+key {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, q)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil && answer(w, q) {
		return
	}
	var data []map[string]any
	for i := len(q.Input) - 1; i >= 0; i-- { // the order is the index's
		data = append(data, map[string]any{"object": "embedding", "index": i, "embedding": vectorOf(q.Input[i])})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": data, "model": q.Model, "usage": map[string]int{"prompt_tokens": len(q.Input), "total_tokens": len(q.Input)}})
}

func vectorOf(text string) []float32 { return []float32{3, 4, float32(len(text)), 0} }

func (s *server) asked() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *server) embedder(t *testing.T, d Deps, change ...func(*Config)) *Embedder {
	t.Helper()
	cfg := Defaults()
	cfg.BaseURL, cfg.APIKey = s.URL+"/v1/", config.NewSecret(key)
	for _, c := range change {
		c(&cfg)
	}
	e, err := New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Vectors come in the order of the texts, in batches, with length 1.
func TestEmbed(t *testing.T) {
	s := newServer(t)
	tokens := 0
	e := s.embedder(t, Deps{Used: func(n int) { tokens += n }}, func(c *Config) { c.Batch = 2 })
	if e.Dim() != 0 {
		t.Errorf("the length is %d before anything was asked", e.Dim())
	}
	long := strings.Repeat("ü", maxText)
	v, err := e.Embed(t.Context(), []string{"a", "bcd", " \n", "efghi", long})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{1, 3, -1, 5, maxText} {
		want := []float64{3, 4, float64(n), 0}
		length := math.Sqrt(25 + float64(n*n))
		for j, x := range v[i] {
			if n < 0 {
				want, length = make([]float64, 4), 1
			}
			if math.Abs(float64(x)-want[j]/length) > 1e-6 {
				t.Errorf("vector %d is %v", i, v[i])
			}
		}
	}
	if got := s.asked(); len(got) != 2 || len(got[0].Input) != 2 || len(got[1].Input) != 2 || got[0].Dimensions != 0 || got[0].Model != "text-embedding-3-small" {
		t.Errorf("asked %d times: %+v", len(got), got)
	}
	if e.Dim() != 4 || !strings.HasSuffix(e.Name(), "-text-embedding-3-small-4") || tokens != 4 {
		t.Errorf("length %d, name %s, %d tokens", e.Dim(), e.Name(), tokens)
	}
}

func TestDimensionsAreAskedFor(t *testing.T) {
	s := newServer(t)
	e := s.embedder(t, Deps{}, func(c *Config) { c.Dimensions = 4 })
	if err := e.Probe(t.Context()); err != nil || s.asked()[0].Dimensions != 4 {
		t.Error(err, s.asked())
	}
}

// Numbers in base64 are read too.
func TestBase64(t *testing.T) {
	s := newServer(t)
	s.answer = func(w http.ResponseWriter, r request) bool {
		b := base64.StdEncoding.EncodeToString([]byte{0, 0, 64, 64, 0, 0, 128, 64}) // 3, 4
		fmt.Fprintf(w, `{"data":[{"index":0,"embedding":%q}]}`, b)
		return true
	}
	v, err := s.embedder(t, Deps{}).Embed(t.Context(), []string{"a"})
	if err != nil || len(v[0]) != 2 || math.Abs(float64(v[0][1])-0.8) > 1e-6 {
		t.Error(v, err)
	}
}

// What goes wrong is said in one line, with its code, and never with the key.
func TestFailures(t *testing.T) {
	text := func(status int, body string) func(http.ResponseWriter, request) bool {
		return func(w http.ResponseWriter, _ request) bool {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, request) bool
		code   bus.Code
		says   string
		retry  time.Duration
	}{
		"slow down":     {text(429, `{"error":{"message":"Rate limit reached"}}`), bus.CodeBusy, "slow down (HTTP 429)", 7 * time.Second},
		"down":          {text(503, "<html>"), bus.CodeUnavailable, "cannot answer now (HTTP 503)", 7 * time.Second},
		"no model":      {text(404, `{"error":"model \"m\" not found, try pulling it first"}`), bus.CodeInvalid, "not found, try pulling it first", 0},
		"refused":       {text(400, `{"error":{"message":"bad input, key `+key+`"}}`), bus.CodeInvalid, "bad input, key [redacted]", 0},
		"no credit":     {text(402, ``), bus.CodeDenied, "no credit", 0},
		"error in 200":  {text(200, `{"error":{"message":"out of memory"}}`), bus.CodeInvalid, "out of memory", 0},
		"not JSON":      {text(200, `<html>`), bus.CodeInternal, "not JSON", 0},
		"too few":       {text(200, `{"data":[]}`), bus.CodeInternal, "0 vectors for 1 texts", 0},
		"wrong index":   {text(200, `{"data":[{"index":5,"embedding":[1]}]}`), bus.CodeInternal, "unclear", 0},
		"empty":         {text(200, `{"data":[{"index":0,"embedding":[]}]}`), bus.CodeInternal, "0 numbers", 0},
		"zeros":         {text(200, `{"data":[{"index":0,"embedding":[0,0]}]}`), bus.CodeInternal, "no length", 0},
		"huge numbers":  {text(200, `{"data":[{"index":0,"embedding":[1e39]}]}`), bus.CodeInternal, "not JSON", 0},
		"endless":       {text(200, strings.Repeat(" ", maxBody+1)), bus.CodeInternal, "longer than", 0},
		"broken base64": {text(200, `{"data":[{"index":0,"embedding":"AAA"}]}`), bus.CodeInternal, "not JSON", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.answer = c.answer
			_, err := s.embedder(t, Deps{}).Embed(t.Context(), []string{"a"})
			var e *bus.Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.says) || e.RetryAfter != c.retry {
				t.Fatalf("%+v", err)
			}
			if strings.ContainsAny(e.Message, "\n") || strings.Contains(e.Message+e.Hint, key) {
				t.Error(e)
			}
		})
	}
}

func TestKeyIsWanted(t *testing.T) {
	s := newServer(t)
	for _, k := range []string{"", "wrong"} {
		e := s.embedder(t, Deps{}, func(c *Config) { c.APIKey = config.NewSecret(k) })
		if err := e.Probe(t.Context()); bus.CodeOf(err) != bus.CodeDenied || !strings.Contains(err.Error(), "API key") {
			t.Error(err)
		}
	}
}

// Vectors of another length than before are refused.
func TestAnotherLength(t *testing.T) {
	s := newServer(t)
	e := s.embedder(t, Deps{})
	if err := e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.answer = func(w http.ResponseWriter, _ request) bool {
		fmt.Fprint(w, `{"data":[{"index":0,"embedding":[1,2]}]}`)
		return true
	}
	if err := e.Probe(t.Context()); bus.CodeOf(err) != bus.CodeInvalid || !strings.Contains(err.Error(), "4 were before") {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	s := newServer(t)
	e := s.embedder(t, Deps{})
	s.Close()
	if err := e.Probe(t.Context()); bus.CodeOf(err) != bus.CodeUnavailable || !strings.Contains(err.Error(), "nothing answers") {
		t.Error(err)
	}
}

func TestSilence(t *testing.T) {
	s := newServer(t)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	s.answer = func(w http.ResponseWriter, _ request) bool { <-done; return true }
	e := s.embedder(t, Deps{}, func(c *Config) { c.Timeout = 20 * time.Millisecond })
	if err := e.Probe(t.Context()); bus.CodeOf(err) != bus.CodeUnavailable || !strings.Contains(err.Error(), "gave no answer") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Probe(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for url, want := range map[string]string{
		"https://api.openai.com/v1":            "",
		"http://127.0.0.1:11434/v1":            "",
		"http://192.168.1.5:8080/v1":           "in the clear",
		"":                                     "there is no server",
		"ftp://x":                              "not a URL",
		"https://u:p@x/v1":                     "do not belong",
		"https://x/v1?a=b":                     "goes on",
		"https://api.openai.com/v1/embeddings": "is added to it",
	} {
		cfg := Defaults()
		cfg.BaseURL = url
		_, err := New(cfg, Deps{})
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "recall.server.base_url: ")) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"data":[{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":1}}`), 1)
	f.Add([]byte(`{"data":[{"embedding":"AACAPw=="},{"index":1,"embedding":[1e-40]}]}`), 2)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		a, err := parse(b)
		if err != nil {
			return
		}
		vectors, err := a.vectors(min(max(n, 0), 10))
		for _, v := range vectors {
			var sum float64
			for _, x := range v {
				sum += float64(x) * float64(x)
			}
			if err == nil && !(math.Abs(sum-1) < 1e-4) {
				t.Errorf("a vector of length %v passed", sum)
			}
		}
	})
}
