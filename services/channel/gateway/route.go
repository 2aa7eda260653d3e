// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
)

// anyScope is a route that a valid token opens whatever its scopes.
const anyScope = "any"

// handler answers a request, or returns why not and has written nothing.
type handler func(w http.ResponseWriter, r *request) error

// route is one path and what it takes to enter. The token is asked for before
// the method, so that without one nothing can be learned.
type route struct {
	pattern string
	label   string // in metrics; "" is the pattern
	scope   string // "" is open to all
	methods map[string]handler
	openai  bool // errors have OpenAI's shape
	browser bool // the token may come as a subprotocol: a page's script can set no header of a socket
}

// other gathers in metrics what has no route.
const other = "other"

// routes is the whole outside; /v1/ catches what is not below it.
func (f *front) routes() []route {
	metricsScope := scopeMetrics
	if f.cfg.private() || f.cfg.MetricsOpen {
		metricsScope = ""
	}
	return []route{
		{pattern: "/v1/messages", scope: scopeChat, methods: map[string]handler{http.MethodPost: f.postMessage}},
		{pattern: "/v1/messages/{id}", scope: scopeChat, methods: map[string]handler{http.MethodGet: f.getMessage, http.MethodDelete: f.cancelMessage}},
		{pattern: "/v1/sessions", scope: scopeChat, methods: map[string]handler{http.MethodGet: f.getSessions}},
		{pattern: "/v1/sessions/{id}/messages", scope: scopeChat, methods: map[string]handler{http.MethodGet: f.getHistory}},
		{pattern: "/v1/chat/completions", scope: scopeChat, openai: true, methods: map[string]handler{http.MethodPost: f.postCompletion}},
		{pattern: "/v1/models", scope: scopeChat, openai: true, methods: map[string]handler{http.MethodGet: f.getModels}},
		{pattern: "/v1/models/{id}", scope: scopeChat, openai: true, methods: map[string]handler{http.MethodGet: f.getModel}},
		{pattern: "/v1/events", scope: scopeStatus, methods: map[string]handler{http.MethodGet: f.getEvents}},
		{pattern: "/v1/ws", scope: scopeChat, browser: true, methods: map[string]handler{http.MethodGet: f.getSocket}},
		{pattern: "/health", methods: map[string]handler{http.MethodGet: f.getHealth}},
		{pattern: "/metrics", scope: metricsScope, methods: map[string]handler{http.MethodGet: f.getMetrics}},
		{pattern: "/v1/", label: other, scope: anyScope},
		{pattern: "/", label: other},
	}
}

func (rt route) name() string {
	if rt.label != "" {
		return rt.label
	}
	return rt.pattern
}

// allow lists the methods for the Allow header.
func (rt route) allow() string {
	var all []string
	for m := range rt.methods {
		all = append(all, m)
		if m == http.MethodGet {
			all = append(all, http.MethodHead)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// request is an HTTP request on its way through the gateway.
type request struct {
	*http.Request
	route   route
	subject string    // of the token; "" on open routes
	pass    admission // the token's; none on open routes
	trace   string    // names this request in logs and to the caller
}

// handler is the way every request takes: guard, route, token, method.
func (f *front) handler() http.Handler {
	mux := http.NewServeMux()
	for _, rt := range f.routes() {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, hr *http.Request) { f.enter(w, hr, rt) })
	}
	missing := route{label: other}
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		if path.Clean(hr.URL.Path) != hr.URL.Path && hr.URL.Path != "/v1/" {
			f.enter(w, hr, missing) // the mux would answer with a redirect to the clean path
			return
		}
		mux.ServeHTTP(w, hr)
	})
}

// enter runs one request of a route: measured, contained, and with one place
// for errors.
func (f *front) enter(hw http.ResponseWriter, hr *http.Request, rt route) {
	w := &recorder{ResponseWriter: hw}
	r := &request{Request: hr, route: rt, trace: rand.Text()[:16]}
	r.Request = hr.WithContext(bus.WithTrace(hr.Context(), r.trace))
	start := time.Now()
	defer func() { f.meter.served(rt.name(), w.code(), time.Since(start)) }()
	secure(w.Header(), r.trace)
	if err := f.contained(w, r, rt); err != nil {
		f.refuse(w, r, err)
	}
}

// contained turns a panic into an error: the caller learns that it failed and
// not how.
func (f *front) contained(w *recorder, r *request, rt route) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
			panic(p)
		}
		f.log.Error("panic in handler", "trace", r.trace, "route", rt.name(), "err", p, "stack", string(debug.Stack()))
		if w.status != 0 {
			panic(http.ErrAbortHandler) // a half answer must not look like a whole one
		}
		err = internal(r.trace)
	}()
	return f.answer(w, r, rt)
}

func (f *front) answer(w http.ResponseWriter, r *request, rt route) error {
	if err := f.guard(r); err != nil {
		return err
	}
	if rt.scope != "" {
		if err := f.authorize(r, rt.scope); err != nil {
			return err
		}
	}
	if rt.methods == nil {
		return &refusal{status: http.StatusNotFound, code: bus.CodeNotFound,
			message: "there is nothing at " + shorten(r.URL.Path), hint: "messages go to /v1/messages"}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // the server leaves the body out
	}
	h := rt.methods[method]
	if h == nil {
		w.Header().Set("Allow", rt.allow())
		return &refusal{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
			message: fmt.Sprintf("%s does not take %s", rt.pattern, shorten(r.Method)), hint: "use " + rt.allow()}
	}
	return h(w, r)
}

// query returns the values of the known parameters. Others are refused: a
// misspelled one would be ignored without a word.
func (r *request) query(known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("percent-encode it", "the query cannot be read: %v", err)
	}
	for key, v := range values {
		if !slices.Contains(known, key) {
			return nil, invalid("known here: "+strings.Join(known, ", "), "unknown query parameter %q", shorten(key))
		}
		if len(v) > 1 {
			return nil, invalid("give it once", "query parameter %q is given %d times", key, len(v))
		}
	}
	return values, nil
}

// shorten makes what the caller sent fit for a message.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
