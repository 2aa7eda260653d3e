// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func newClient(t *testing.T) *http.Client {
	c := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestRefusedRequests(t *testing.T) {
	r := start(t)
	bearer := []string{"Authorization", "Bearer " + r.token("me", "chat")}
	json := append(slices.Clone(bearer), "Content-Type", "application/json")
	key := func(k string) []string { return append(slices.Clone(json), "Idempotency-Key", k) }
	const ok = `{"text":"x"}`
	tests := []struct {
		name, method, path, body string
		header                   []string
		status                   int
		code, message, hint      string
	}{
		{"no content type", "POST", "/v1/messages", ok, bearer, 415, "invalid", `""`, "application/json"},
		{"form", "POST", "/v1/messages", ok, append(slices.Clone(bearer), "Content-Type", "text/plain"), 415, "invalid", "text/plain", "application/json"},
		{"latin1", "POST", "/v1/messages", ok, append(slices.Clone(bearer), "Content-Type", "application/json; charset=latin1"), 415, "invalid", "latin1", ""},
		{"gzip", "POST", "/v1/messages", ok, append(slices.Clone(json), "Content-Encoding", "gzip"), 415, "invalid", "gzip", "uncompressed"},
		{"empty body", "POST", "/v1/messages", "", json, 400, "invalid", "line 1, column 1", ""},
		{"cut off", "POST", "/v1/messages", `{"text":`, json, 400, "invalid", "line 1, column 8", ""},
		{"syntax", "POST", "/v1/messages", "{\n \"text\": x}", json, 400, "invalid", "line 2, column 10", ""},
		{"trailing garbage", "POST", "/v1/messages", ok + " {}", json, 400, "invalid", "line 1, column 14", ""},
		{"array", "POST", "/v1/messages", `["x"]`, json, 400, "invalid", "not a JSON object", ""},
		{"null", "POST", "/v1/messages", `null`, json, 400, "invalid", "not a JSON object", ""},
		{"unknown field", "POST", "/v1/messages", `{"txt":"x"}`, json, 400, "invalid", `unknown field "txt"`, "session, text"},
		{"other case", "POST", "/v1/messages", `{"Text":"x"}`, json, 400, "invalid", `unknown field "Text"`, "session, text"},
		{"twice", "POST", "/v1/messages", `{"text":"x","text":"y"}`, json, 400, "invalid", `"text" is there twice`, ""},
		{"wrong type", "POST", "/v1/messages", `{"text":7}`, json, 400, "invalid", `"text" is a number, not a string`, ""},
		{"not UTF-8", "POST", "/v1/messages", "{\"text\":\"a\xff\"}", json, 400, "invalid", "UTF-8 (line 1, column 11)", ""},
		{"empty text", "POST", "/v1/messages", `{"text":" \n"}`, json, 400, "invalid", "the text is empty", "text"},
		{"no text", "POST", "/v1/messages", `{}`, json, 400, "invalid", "the text is empty", "text"},
		{"null text", "POST", "/v1/messages", `{"text":null}`, json, 400, "invalid", "the text is empty", "text"},
		{"too large", "POST", "/v1/messages", `{"text":"` + strings.Repeat("x", 256<<10) + `"}`, json, 413, "too_large", "262144 bytes", "max_body_bytes"},
		{"bad wait", "POST", "/v1/messages?wait=soon", ok, json, 400, "invalid", `wait="soon"`, "30s"},
		{"negative wait", "GET", "/v1/messages/m1?wait=-1s", "", bearer, 400, "invalid", `wait="-1s"`, "30s"},
		{"unknown parameter", "POST", "/v1/messages?wiat=3s", ok, json, 400, "invalid", `"wiat"`, "wait"},
		{"parameter twice", "POST", "/v1/messages?wait=1s&wait=2s", ok, json, 400, "invalid", "2 times", "once"},
		{"broken query", "POST", "/v1/messages?wait=%zz", ok, json, 400, "invalid", "query", "encode"},
		{"key too long", "POST", "/v1/messages", ok, key(strings.Repeat("k", 129)), 400, "invalid", "Idempotency-Key", "128"},
		{"empty key", "POST", "/v1/messages", ok, key(""), 400, "invalid", "Idempotency-Key", "128"},
		{"odd key", "POST", "/v1/messages", ok, key("a b"), 400, "invalid", "Idempotency-Key", "128"},
		{"two keys", "POST", "/v1/messages", ok, append(key("a"), "Idempotency-Key", "b"), 400, "invalid", "Idempotency-Key", "128"},
		{"limit", "GET", "/v1/sessions?limit=501", "", bearer, 400, "invalid", "limit", "1 to 500"},
		{"after", "GET", "/v1/sessions/main/messages?after=x", "", bearer, 400, "invalid", "after", "whole number"},
		{"unknown message", "GET", "/v1/messages/m9", "", bearer, 404, "not_found", "m9", ""},
		{"no such path", "GET", "/nothing", "", nil, 404, "not_found", "/nothing", "/v1/messages"},
		{"no such path in v1", "GET", "/v1/nothing", "", bearer, 404, "not_found", "/v1/nothing", "/v1/messages"},
		{"root", "GET", "/", "", nil, 404, "not_found", "nothing at /", "/v1/messages"},
		{"unclean path", "POST", "//v1/messages", ok, json, 404, "not_found", "//v1/messages", ""},
		{"dots", "POST", "/health/../v1/messages", ok, json, 404, "not_found", "/v1/messages", ""},
		{"wrong method", "GET", "/v1/messages", "", bearer, 405, "method_not_allowed", "GET", "use POST"},
		{"wrong method, two allowed", "DELETE", "/health", "", nil, 405, "method_not_allowed", "DELETE", "use GET, HEAD"},
		{"options", "OPTIONS", "/v1/messages", "", bearer, 405, "method_not_allowed", "OPTIONS", "use POST"},
		{"no token comes before no path", "GET", "/v1/nothing", "", nil, 401, "no_token", "token", "blufio token issue"},
		{"no token comes before wrong method", "PUT", "/v1/messages", "", nil, 401, "no_token", "token", "blufio token issue"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.do(tt.method, tt.path, tt.body, tt.header...)
			code, message, hint := a.failure(t)
			if a.status != tt.status || code != tt.code || !strings.Contains(message, tt.message) || !strings.Contains(hint, tt.hint) {
				t.Errorf("got %d %s, want %d %s …%s… …%s…", a.status, a.body, tt.status, tt.code, tt.message, tt.hint)
			}
			if a.status == 405 && "use "+a.header.Get("Allow") != hint {
				t.Errorf("Allow: %q, hint %q", a.header.Get("Allow"), hint)
			}
			if a.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate: %q", a.header.Get("WWW-Authenticate"))
			}
			for header, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
				if got := a.header.Get(header); got != want {
					t.Errorf("%s: %q", header, got)
				}
			}
		})
	}
	if len(r.agent.order) != 0 {
		t.Errorf("the agent was given %d messages", len(r.agent.order))
	}
}

func TestAgentErrors(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
		retry  string
	}{
		{&bus.Error{Code: bus.CodeBusy, Message: "full", Hint: "later", RetryAfter: 1500 * time.Millisecond}, 503, "busy", "2"},
		{&bus.Error{Code: bus.CodeUnavailable, Message: "away", Hint: "later"}, 503, "unavailable", "1"},
		{&bus.Error{Code: bus.CodeInvalid, Message: "bad", Hint: "later"}, 400, "invalid", ""},
		{&bus.Error{Code: bus.CodeTooLarge, Message: "big", Hint: "later"}, 413, "too_large", ""},
		{&bus.Error{Code: bus.CodeNotFound, Message: "none", Hint: "later"}, 404, "not_found", ""},
		{&bus.Error{Code: bus.CodeDenied, Message: "no", Hint: "later"}, 403, "denied", ""},
		{&bus.Error{Code: bus.CodeConflict, Message: "other", Hint: "later"}, 409, "conflict", ""},
		{&bus.Error{Code: bus.CodeTimeout, Message: "late", Hint: "later"}, 504, "timeout", ""},
		{&bus.Error{Code: bus.CodeBudget, Message: "spent", Hint: "later"}, 402, "budget_exhausted", ""},
		{&bus.Error{Code: bus.CodeStopped, Message: "stopped", Hint: "later"}, 402, "spending_stopped", ""},
		{&bus.Error{Code: bus.CodePriceUnknown, Message: "price", Hint: "later"}, 402, "price_unknown", ""},
		{errors.New("secret detail"), 500, "internal", ""},
	}
	var warnings warnings
	r := startWith(t, func(d *Deps) { d.Logger = slog.New(&warnings) }, nil)
	for _, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			before := warnings.Load()
			r.agent.set(func() { r.agent.fail = tt.err })
			for _, a := range []answer{r.post("/v1/messages", "x"), r.get("/v1/messages/m1", "me", "chat"),
				r.get("/v1/sessions", "me", "chat"), r.get("/v1/sessions/main/messages", "me", "chat")} {
				code, _, hint := a.failure(t)
				if a.status != tt.status || code != tt.code || hint == "" || a.header.Get("Retry-After") != tt.retry {
					t.Errorf("got %d, Retry-After %q: %s", a.status, a.header.Get("Retry-After"), a.body)
				}
				if strings.Contains(a.body, "secret") {
					t.Errorf("inner details leave: %s", a.body)
				}
			}
			if c := r.service.Door().Channel(); tt.status >= 500 && (c.LastError == nil || c.LastErrorAt == nil) {
				t.Errorf("no evidence of the failure: %+v", c)
			}
			want := int64(0)
			if tt.status >= 500 && tt.code != "busy" { // a crowd that is refused does not fill the log
				want = 4
			}
			if got := warnings.Load() - before; got != want {
				t.Errorf("%d warnings in the log, want %d", got, want)
			}
		})
	}
}

// warnings counts what is logged as one, or as worse.
type warnings struct{ atomic.Int64 }

func (*warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w *warnings) Handle(context.Context, slog.Record) error      { w.Add(1); return nil }
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler             { return w }
func (w *warnings) WithGroup(string) slog.Handler                  { return w }

func TestNobodyAnswers(t *testing.T) {
	r := start(t)
	if err := r.agent.conn.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := r.post("/v1/messages", "x")
	if code, _, hint := a.failure(t); a.status != 503 || code != "unavailable" || hint == "" || a.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestPanicIsContained(t *testing.T) {
	r := start(t)
	f := newFront(r.service, nil)
	rt := route{pattern: "/boom", label: other, methods: map[string]handler{http.MethodGet: func(http.ResponseWriter, *request) error {
		panic("secret detail")
	}}}
	w := httptest.NewRecorder()
	f.enter(w, httptest.NewRequest("GET", "http://localhost/boom", nil), rt)
	a := answer{status: w.Code, body: w.Body.String()}
	code, _, hint := a.failure(t)
	if a.status != 500 || code != "internal" || !strings.Contains(hint, w.Header().Get(traceHeader)) || strings.Contains(a.body, "secret") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	half := route{label: other, methods: map[string]handler{http.MethodGet: func(w http.ResponseWriter, _ *request) error {
		w.WriteHeader(http.StatusOK)
		panic("in the middle")
	}}}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("a half answer ends with %v", p)
		}
	}()
	f.enter(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/boom", nil), half)
}
