// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/roomtest"
)

func TestMessageLife(t *testing.T) {
	r := start(t)
	a := r.post("/v1/messages", "hello <you>")
	var acc acceptedBody
	if a.decode(t, &acc); a.status != 202 || acc.ID != "m1" || acc.Session != "main" || a.header.Get("Location") != "/v1/messages/m1" {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	want := bus.Message{Channel: "gateway", Owner: "me", Session: "main", Text: "hello <you>"}
	if got := r.agent.last; !reflect.DeepEqual(got, want) {
		t.Errorf("the agent got %+v, want %+v", got, want)
	}
	var m messageBody
	r.get("/v1/messages/m1", "me", "chat").decode(t, &m)
	if m.State != "queued" || m.Text != "hello <you>" || m.Reply != "" {
		t.Errorf("got %+v", m)
	}
	if err := r.agent.reply("m1", bus.StateAnswered, "hi"); err != nil {
		t.Fatal(err)
	}
	r.get("/v1/messages/m1", "me", "chat").decode(t, &m)
	if m.State != "answered" || m.Reply != "hi" || m.ID != "m1" || m.Session != "main" {
		t.Errorf("got %+v", m)
	}
	if c := r.service.Door().Channel(); c.State != bus.Healthy || c.LastSuccess == nil || c.LastError != nil {
		t.Errorf("channel: %+v", c)
	}
}

func TestOwnership(t *testing.T) {
	r := start(t)
	r.post("/v1/messages", "mine")
	if a := r.get("/v1/messages/m1", "you", "chat"); a.status != 404 {
		t.Errorf("another subject: %d %s", a.status, a.body)
	}
	// The same name on another channel is someone else.
	r.agent.set(func() { r.agent.byID["m1"].Channel = "telegram" })
	for _, path := range []string{"/v1/messages/m1", "/v1/messages/m1?wait=5s"} {
		if a := r.get(path, "me", "chat"); a.status != 404 || strings.Contains(a.body, "mine") {
			t.Errorf("%s of another channel: %d %s", path, a.status, a.body)
		}
	}
}

// A message is stopped by its owner, on its channel.
func TestCancelMessage(t *testing.T) {
	r := start(t)
	r.post("/v1/messages", "x")
	stop := func(subject string) answer {
		return r.do("DELETE", "/v1/messages/m1", "", "Authorization", "Bearer "+r.token(subject, "chat"))
	}
	if a := stop("you"); a.status != 404 {
		t.Errorf("another subject: %d %s", a.status, a.body)
	}
	r.agent.set(func() { r.agent.byID["m1"].Channel = "telegram" })
	if a := stop("me"); a.status != 404 {
		t.Errorf("another channel: %d %s", a.status, a.body)
	}
	if len(r.agent.canceled) != 0 {
		t.Errorf("the agent was asked to stop %v", r.agent.canceled)
	}
	r.agent.set(func() { r.agent.byID["m1"].Channel = name })
	a := stop("me")
	var m messageBody
	if a.decode(t, &m); a.status != 200 || m.ID != "m1" || m.State != "failed" || m.Error != bus.CodeCanceled {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if want := (bus.MessageQuery{ID: "m1", Owner: "me"}); len(r.agent.canceled) != 1 || r.agent.canceled[0] != want {
		t.Errorf("the agent was asked to stop %v", r.agent.canceled)
	}
}

func TestIdempotencyKey(t *testing.T) {
	r := start(t)
	first, second := r.post("/v1/messages", "x", "Idempotency-Key", "k1"), r.post("/v1/messages", "x", "Idempotency-Key", "k1")
	if first.body != second.body || second.status != 202 {
		t.Errorf("got %s, then %d %s", first.body, second.status, second.body)
	}
	other := r.do("POST", "/v1/messages", `{"text":"x"}`, "Idempotency-Key", "k1", "Content-Type", "application/json",
		"Authorization", "Bearer "+r.token("you", "chat"))
	if other.body == first.body {
		t.Errorf("two subjects share the key: %s", other.body)
	}
	if got := r.agent.last.ExternalID; got != "you/k1" {
		t.Errorf("external id %q", got)
	}
}

func TestWait(t *testing.T) {
	tests := []struct {
		name   string
		before func(r *rig) // prepares the agent
		during func(r *rig) // after the waiter has registered and asked
		path   string
		header []string
		status int
		body   string
	}{
		{name: "woken", path: "/v1/messages?wait=15s", status: 200,
			during: func(r *rig) { _ = r.agent.reply("m1", bus.StateAnswered, "hi") },
			body:   `{"id":"m1","session":"main","state":"answered","reply":"hi"}`},
		{name: "woken twice", path: "/v1/messages?wait=15s", status: 200,
			during: func(r *rig) {
				_ = r.agent.reply("m1", bus.StateAnswered, "hi")
				_ = r.agent.reply("m1", bus.StateAnswered, "hi")
			},
			body: `{"id":"m1","session":"main","state":"answered","reply":"hi"}`},
		{name: "the reply is faster than the acceptance", path: "/v1/messages?wait=15s", status: 200,
			before: func(r *rig) {
				r.agent.received = func(id string) { _ = r.agent.reply(id, bus.StateAnswered, "quick") }
			},
			body: `{"id":"m1","session":"main","state":"answered","reply":"quick"}`},
		{name: "failed", path: "/v1/messages?wait=15s", status: 200,
			during: func(r *rig) { _ = r.agent.reply("m1", bus.StateFailed, "no model") },
			body:   `{"id":"m1","session":"main","state":"failed","reply":"no model"}`},
		{name: "too late", path: "/v1/messages?wait=20ms", status: 202, body: `{"id":"m1","session":"main"}`},
		{name: "the agent fails after it accepted", path: "/v1/messages?wait=15s", status: 200,
			before: func(r *rig) {
				r.agent.received = func(string) { r.agent.set(func() { r.agent.fail = errors.New("broken") }) }
			},
			during: func(r *rig) { _ = r.agent.reply("m1", bus.StateAnswered, "hi") },
			body:   `{"id":"m1","session":"main","state":"answered","reply":"hi"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t)
			if tt.before != nil {
				tt.before(r)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				<-r.agent.asked
				if tt.during != nil {
					tt.during(r)
				}
			}()
			a := r.post(tt.path, "x", tt.header...)
			<-done
			if a.status != tt.status || strings.TrimSpace(a.body) != tt.body {
				t.Errorf("got %d %s, want %d %s", a.status, a.body, tt.status, tt.body)
			}
			if n := r.service.waiters.len(); n != 0 {
				t.Errorf("%d waiters stay", n)
			}
		})
	}
}

func TestWaitForDuplicate(t *testing.T) {
	r := start(t)
	r.post("/v1/messages", "x", "Idempotency-Key", "k")
	r.agent.settle("m1", bus.StateAnswered, "hi") // delivered in an earlier life
	if a := r.post("/v1/messages?wait=15s", "x", "Idempotency-Key", "k"); a.status != 200 || !strings.Contains(a.body, `"reply":"hi"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestGetWaits(t *testing.T) {
	r := start(t)
	r.post("/v1/messages", "x")
	go func() {
		<-r.agent.asked
		_ = r.agent.reply("m1", bus.StateAnswered, "hi")
	}()
	if a := r.get("/v1/messages/m1?wait=15s", "me", "chat"); a.status != 200 || !strings.Contains(a.body, `"reply":"hi"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// A wait may be longer than the server gives a request or an answer.
func TestWaitOutlastsTimeouts(t *testing.T) {
	r := start(t, func(c *Config) { c.ReadTimeout, c.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond })
	begun := time.Now()
	if a := r.post("/v1/messages?wait=200ms", "x"); a.status != 202 || time.Since(begun) < 200*time.Millisecond {
		t.Errorf("post: %d %s after %s", a.status, a.body, time.Since(begun))
	}
	begun = time.Now()
	if a := r.get("/v1/messages/m1?wait=200ms", "me", "chat"); a.status != 200 || time.Since(begun) < 200*time.Millisecond {
		t.Errorf("get: %d %s after %s", a.status, a.body, time.Since(begun))
	}
}

func TestMaxWait(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxWait = 10 * time.Millisecond })
	if a := r.post("/v1/messages?wait=1h", "x"); a.status != 202 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestTooManyWaiters(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxWaiters = 1 })
	first := make(chan answer, 1)
	token := r.token("me", "chat")
	go func() {
		a, _ := r.try("POST", "/v1/messages?wait=15s", `{"text":"x"}`, "Authorization", "Bearer "+token, "Content-Type", "application/json")
		first <- a
	}()
	<-r.agent.asked
	if a := r.post("/v1/messages?wait=15s", "y"); a.status != 202 {
		t.Errorf("beyond the bound: %d %s", a.status, a.body)
	}
	if a := r.get("/v1/messages/m1?wait=15s", "me", "chat"); a.status != 200 || !strings.Contains(a.body, `"queued"`) {
		t.Errorf("get beyond the bound: %d %s", a.status, a.body)
	}
	if err := r.agent.reply("m1", bus.StateAnswered, "hi"); err != nil {
		t.Fatal(err)
	}
	if a := <-first; a.status != 200 {
		t.Errorf("the first: %d %s", a.status, a.body)
	}
}

// A body has a slot from its first byte until its message is handed over.
func TestTooManyBodies(t *testing.T) {
	r := start(t, func(c *Config) { c.ReadTimeout = 200 * time.Millisecond })
	held, release := make(chan int, 2), make(chan struct{})
	r.agent.set(func() {
		r.agent.received = func(string) { held <- len(r.service.bodies); <-release }
	})
	posted := make(chan answer, 1)
	token := r.token("me", "chat")
	go func() {
		a, _ := r.try("POST", "/v1/messages", `{"text":"x"}`, "Authorization", "Bearer "+token, "Content-Type", "application/json")
		posted <- a
	}()
	if n := <-held; n != 1 {
		t.Errorf("%d slots are taken while the agent stores it", n)
	}
	for range Defaults().MaxBodies - 1 {
		r.service.bodies <- struct{}{}
	}
	for _, a := range []answer{r.post("/v1/messages", "y"), r.complete(hello)} {
		if a.status != 503 || !strings.Contains(a.body, "too many requests are being read") {
			t.Errorf("one too many: %d %s", a.status, a.body)
		}
	}
	close(release)
	if a := <-posted; a.status != 202 || len(r.service.bodies) != Defaults().MaxBodies-1 {
		t.Errorf("the first: %d %s", a.status, a.body)
	}
	p := r.socket()
	p.send(`{"type":"message","id":"a","text":"z"}`)
	p.expect("accepted", "a")
	if n := <-held; n != Defaults().MaxBodies {
		t.Errorf("%d slots are taken while a socket's message is stored", n)
	}
	bustest.Eventually(t, "its slot is free", func() bool { return len(r.service.bodies) == Defaults().MaxBodies-1 })
}

func TestDrainAnswersWaiters(t *testing.T) {
	r := start(t)
	got := make(chan answer, 1)
	token := r.token("me", "chat")
	go func() {
		a, err := r.try("POST", "/v1/messages?wait=15s", `{"text":"x"}`, "Authorization", "Bearer "+token, "Content-Type", "application/json")
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	<-r.agent.asked
	begun := time.Now()
	r.stop()
	if a := <-got; a.status != 202 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if _, err := r.try("GET", "/health", ""); err == nil {
		t.Error("it still accepts requests")
	}
}

// A message that the agent is storing when the end comes is acknowledged.
func TestDrainFinishesRequests(t *testing.T) {
	r := start(t)
	storing, release := make(chan struct{}), make(chan struct{})
	r.agent.set(func() { r.agent.received = func(string) { close(storing); <-release } })
	got, stopped := make(chan answer, 1), make(chan struct{})
	token := r.token("me", "chat")
	go func() {
		a, err := r.try("POST", "/v1/messages", `{"text":"x"}`, "Authorization", "Bearer "+token, "Content-Type", "application/json")
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	<-storing
	go func() { defer close(stopped); r.stop() }()
	for {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			break // it accepts nothing more
		}
		c.Close()
	}
	close(release)
	if a := <-got; a.status != 202 || !strings.Contains(a.body, `"m1"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
	<-stopped
}

// The agent finishes its outbox after the gateway's Run has returned, and a room
// that is run again is found where it was.
func TestRunAgain(t *testing.T) {
	b := bustest.New(t)
	a := newAgent(t, b)
	s, _ := newService(t, b, roomtest.Store(t, Schema))
	c := b.Connect(t, name, s.Door().Says...)
	if err := c.Handle(t.Context(), s.Door().Hears...); err != nil {
		t.Fatal(err)
	}
	url := ""
	for life := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- s.Run(ctx, c, func() { close(ready) }) }()
		<-ready
		if url == "" {
			url = s.URL()
		}
		r := &rig{t: t, service: s, url: s.URL(), client: newClient(t)}
		if got := r.post("/v1/messages", "x"); got.status != 202 || s.URL() != url {
			t.Errorf("life %d at %s: %d %s", life, s.URL(), got.status, got.body)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if err := a.reply("m1", bus.StateAnswered, "late"); err != nil {
			t.Errorf("life %d: deliver after Run: %v", life, err)
		}
		if p := s.Door().Health(); len(p) != 1 || p[0].Code != "gateway_down" {
			t.Errorf("problems after Run: %v", p)
		}
	}
}

func TestSessions(t *testing.T) {
	r := start(t)
	if a := r.get("/v1/sessions?limit=7", "me", "chat"); a.status != 200 || strings.TrimSpace(a.body) != `{"sessions":[]}` {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if q := (bus.SessionQuery{Channel: "gateway", Owner: "me", Limit: maxPage}); r.agent.sessions != q {
		t.Errorf("the agent was asked %+v", r.agent.sessions)
	}
	r.agent.set(func() {
		for i := range 120 {
			r.agent.listed = append(r.agent.listed, bus.Session{Name: unnamedSession + fmt.Sprint(i)}, bus.Session{Name: fmt.Sprint(i)})
		}
	})
	for path, want := range map[string]int{"/v1/sessions": 100, "/v1/sessions?limit=7": 7, "/v1/sessions?limit=500": 120} {
		var all bus.Sessions
		r.get(path, "me", "chat").decode(t, &all)
		if len(all.Sessions) != want || all.Sessions[want-1].Name != fmt.Sprint(want-1) {
			t.Errorf("%s: %d sessions %+v", path, len(all.Sessions), all.Sessions)
		}
	}
	r.post("/v1/messages", "x")
	var page historyBody
	r.get("/v1/sessions/a%2Fb/messages?after=3&limit=9", "me", "chat").decode(t, &page)
	if len(page.Messages) != 1 || page.Messages[0].Text != "x" || !page.More {
		t.Errorf("got %+v", page)
	}
	if q := (bus.HistoryQuery{Channel: "gateway", Owner: "me", Session: "a/b", After: 3, Limit: 9}); r.agent.history != q {
		t.Errorf("the agent was asked %+v", r.agent.history)
	}
}
