// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/coder/websocket"
)

// peer is a client of the socket.
type peer struct {
	t  *testing.T
	ws *websocket.Conn
}

// connect opens a socket; an answer that is none is returned.
func (r *rig) connect(protocols []string, header ...string) (*peer, *http.Response) {
	r.t.Helper()
	o := &websocket.DialOptions{HTTPHeader: http.Header{}, Subprotocols: protocols}
	for i := 0; i < len(header); i += 2 {
		o.HTTPHeader.Add(header[i], header[i+1])
	}
	ws, resp, err := websocket.Dial(r.t.Context(), r.url+"/v1/ws", o)
	if err != nil {
		if resp == nil {
			r.t.Fatal(err)
		}
		return nil, resp
	}
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	ws.SetReadLimit(1 << 20)
	return &peer{t: r.t, ws: ws}, resp
}

func (r *rig) socket() *peer {
	r.t.Helper()
	p, resp := r.connect(nil, "Authorization", "Bearer "+r.token("me", "chat"))
	if p == nil {
		r.t.Fatalf("no socket: %s", resp.Status)
	}
	return p
}

func (p *peer) send(text string) {
	p.t.Helper()
	if err := p.ws.Write(p.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) read() (serverFrame, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 15*time.Second)
	defer cancel()
	_, data, err := p.ws.Read(ctx)
	var f serverFrame
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	return f, err
}

func (p *peer) next() serverFrame {
	p.t.Helper()
	f, err := p.read()
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

// expect reads a frame of the type.
func (p *peer) expect(kind, id string) serverFrame {
	p.t.Helper()
	f := p.next()
	if f.Type != kind || f.ID != id {
		data, _ := json.Marshal(f)
		p.t.Fatalf("got %s, want %s of %q", data, kind, id)
	}
	return f
}

func TestSocket(t *testing.T) {
	r := start(t)
	r.agent.set(func() {
		r.agent.received = func(id string) {
			if id == "m1" {
				r.agent.say(id, 1, 0, 0, "Hel") // before the id is told
			}
		}
	})
	p := r.socket()
	p.send(`{"type":"ping","id":"p"}`)
	p.expect("pong", "p")
	p.send(`{"type":"message","id":"a","session":"main","text":"one"}`)
	if f := p.expect("accepted", "a"); f.Message != "m1" || f.Session != "main" {
		t.Errorf("got %+v", f)
	}
	if f := p.expect("delta", "a"); *f.Text != "Hel" || f.Attempt != 1 || *f.Round != 0 || *f.N != 0 || f.Message != "m1" {
		t.Errorf("got %+v", f)
	}
	p.send(`{"type":"message","id":"b","session":"other","text":"two","key":"k"}`)
	p.expect("accepted", "b")
	if got := r.agent.last; got.ExternalID != "me/k" || got.Owner != "me" || got.Session != "other" || got.Text != "two" || got.Channel != "gateway" {
		t.Errorf("the agent got %+v", got)
	}
	<-r.agent.asked
	<-r.agent.asked
	for i, id := range []string{"m2", "m1"} {
		if err := r.agent.reply(id, []string{bus.StateFailed, bus.StateAnswered}[i], "reply to "+id); err != nil {
			t.Fatal(err)
		}
	}
	states := map[string]string{}
	for range 2 {
		f := p.next()
		if f.Type != "reply" || *f.Text != "reply to "+f.Message || f.Session == "" {
			t.Errorf("got %+v", f)
		}
		states[f.ID] = f.State
	}
	if states["a"] != "answered" || states["b"] != "failed" {
		t.Errorf("replies %v", states)
	}
	// The same key again: the reply is there.
	r.agent.settle("m2", bus.StateAnswered, "late")
	p.send(`{"type":"message","id":"c","session":"other","text":"two","key":"k"}`)
	p.expect("accepted", "c")
	if f := p.expect("reply", "c"); *f.Text != "late" {
		t.Errorf("got %+v", f)
	}
	bustest.Eventually(t, "no waiter stays", func() bool { return r.service.waiters.len() == 0 })
}

func TestSocketErrors(t *testing.T) {
	r := start(t)
	p := r.socket()
	tests := []struct{ frame, id, code, message string }{
		{`x`, "", "invalid", "not JSON"},
		{`[]`, "", "invalid", "not a JSON object"},
		{`{"type":"message","id":"a","txet":"x"}`, "a", "invalid", "txet"},
		{`{"type":"massage","id":"a"}`, "a", "invalid", "massage"},
		{`{"type":"message","id":"a","text":" "}`, "a", "invalid", "empty"},
		{`{"type":"message","text":"x"}`, "", "invalid", "id"},
		{`{"type":"message","id":"a","text":"x","key":"a b"}`, "a", "invalid", "Key"},
	}
	for _, tt := range tests {
		p.send(tt.frame)
		f := p.expect("error", tt.id)
		if f.Error == nil || string(f.Error.Code) != tt.code || !strings.Contains(f.Error.Message, tt.message) {
			t.Errorf("%s: %+v", tt.frame, f.Error)
		}
	}
	if err := p.ws.Write(t.Context(), websocket.MessageBinary, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	p.expect("error", "")
	r.agent.set(func() { r.agent.fail = bus.Errorf(bus.CodeBusy, "full") })
	p.send(`{"type":"message","id":"a","text":"x"}`)
	if f := p.expect("error", "a"); f.Error.Code != "busy" || f.Error.Message != "full" {
		t.Errorf("got %+v", f.Error)
	}
	if len(r.agent.order) != 0 {
		t.Errorf("the agent has %v", r.agent.order)
	}
}

func TestSocketBounds(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxStreams = 2; c.MaxBodyBytes = 1024; c.MaxAnswer = time.Hour })
	p := r.socket()
	for i := range maxInFlight {
		p.send(fmt.Sprintf(`{"type":"message","id":"%d","text":"x"}`, i))
		p.expect("accepted", fmt.Sprint(i))
	}
	p.send(`{"type":"message","id":"more","text":"x"}`)
	if f := p.expect("error", "more"); f.Error.Code != "busy" {
		t.Errorf("got %+v", f.Error)
	}
	p.send(`{"type":"message","id":"0","text":"x"}`)
	if f := p.expect("error", "0"); f.Error.Code != "conflict" {
		t.Errorf("got %+v", f.Error)
	}
	large := r.socket()
	if other, resp := r.connect(nil, "Authorization", "Bearer "+r.token("me", "chat")); other != nil || resp.StatusCode != 503 {
		t.Errorf("one too many: %s", resp.Status)
	}
	large.send(`{"type":"message","id":"a","text":"` + strings.Repeat("x", 1024) + `"}`)
	if _, err := large.read(); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("a large frame: %v", err)
	}
	bustest.Eventually(t, "its slot is free", func() bool { return len(r.service.streams) == 1 })
	_ = p.ws.CloseNow()
	bustest.Eventually(t, "nothing stays", func() bool { return len(r.service.streams) == 0 && r.service.waiters.len() == 0 })
}

func TestSocketLate(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxAnswer = 20 * time.Millisecond })
	p := r.socket()
	p.send(`{"type":"message","id":"a","text":"x"}`)
	p.expect("accepted", "a")
	if f := p.expect("error", "a"); f.Error.Code != "timeout" || !strings.Contains(f.Error.Hint, "/v1/messages/m1") || f.Message != "m1" {
		t.Errorf("got %+v", f)
	}
}

func TestSocketEntrance(t *testing.T) {
	r := start(t)
	token := r.token("me", "chat")
	tests := []struct {
		name      string
		protocols []string
		header    []string
		status    int
		speaks    string
	}{
		{"header", nil, []string{"Authorization", "Bearer " + token}, 101, ""},
		{"subprotocol", []string{"bearer." + token}, nil, 101, ""}, // the token is not repeated
		{"both subprotocols", []string{"blufio", "bearer." + token}, nil, 101, "blufio"},
		{"no token", nil, nil, 401, ""},
		{"bad subprotocol", []string{"bearer.x.y.z"}, nil, 401, ""},
		{"two tokens", []string{"bearer." + token, "bearer.x"}, nil, 401, ""},
		{"other scope", []string{"bearer." + r.token("me", "status")}, nil, 403, ""},
		{"own page", []string{"bearer." + token}, []string{"Origin", r.url}, 101, ""},
		{"other page", []string{"bearer." + token}, []string{"Origin", "http://evil.example"}, 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, resp := r.connect(tt.protocols, tt.header...)
			if resp.StatusCode != tt.status {
				t.Fatalf("got %s", resp.Status)
			}
			if p != nil && p.ws.Subprotocol() != tt.speaks {
				t.Errorf("it speaks %q", p.ws.Subprotocol())
			}
		})
	}
	if a := r.get("/v1/ws", "me", "chat"); a.status != 426 || a.header.Get("Upgrade") != "websocket" {
		t.Errorf("no socket: %d %s", a.status, a.body)
	}
	// The subprotocol is a key to nothing else.
	if a := r.do("GET", "/v1/sessions", "", "Sec-WebSocket-Protocol", "bearer."+token); a.status != 401 {
		t.Errorf("another route: %d", a.status)
	}
}

// At the end a socket is closed with 1001, also when its client does not answer.
func TestDrainEndsSockets(t *testing.T) {
	r := start(t)
	p, silent := r.socket(), r.socket()
	p.send(`{"type":"message","id":"a","text":"x"}`)
	p.expect("accepted", "a")
	_ = silent // it never reads
	closed := make(chan error, 1)
	go func() {
		_, err := p.read()
		closed <- err
	}()
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > DrainTimeout {
		t.Errorf("the stop took %s", took)
	}
	var status websocket.CloseError
	if err := <-closed; !errors.As(err, &status) || status.Code != websocket.StatusGoingAway {
		t.Errorf("closed with %v", err)
	}
	if n := len(r.service.streams); n != 0 {
		t.Errorf("%d sockets stay", n)
	}
}

// Run does not end before a socket's message is handed over or given up, and the
// hand-over is not undone by a client that leaves.
func TestDrainAwaitsHandOver(t *testing.T) {
	if handTime+farewellTime > DrainTimeout {
		t.Errorf("handing over takes %s, the drain %s", handTime, DrainTimeout)
	}
	r := start(t)
	storing, release := make(chan struct{}), make(chan struct{})
	r.agent.set(func() { r.agent.received = func(string) { close(storing); <-release } })
	defer close(release)
	p := r.socket()
	p.send(`{"type":"message","id":"1","text":"hello"}`)
	<-storing
	_ = p.ws.CloseNow()
	bustest.Eventually(t, "it is handed over alone", func() bool { return len(r.service.streams) == 1 && r.service.waiters.len() == 1 })
	r.stop()
	if s, w := len(r.service.streams), r.service.waiters.len(); s > 0 || w > 0 {
		t.Errorf("Run ended with %d sockets and %d messages under way", s, w)
	}
}

func TestSocketHandsOverWithoutItsClient(t *testing.T) {
	r := start(t)
	storing, release := make(chan struct{}), make(chan struct{})
	r.agent.set(func() { r.agent.received = func(string) { close(storing); <-release } })
	p := r.socket()
	p.send(`{"type":"message","id":"1","text":"hello"}`)
	<-storing
	_ = p.ws.CloseNow()
	// A context that had ended would have sent the waiter away by the time this is refused.
	for range 20 {
		if a := r.do("GET", "/health", ""); a.status == 0 {
			t.Fatal("no answer")
		}
	}
	if n := r.service.waiters.len(); n != 1 {
		t.Error("the client's leaving undid the hand-over")
	}
	close(release)
	bustest.Eventually(t, "nothing stays", func() bool { return len(r.service.streams) == 0 && r.service.waiters.len() == 0 })
	if c := r.service.Door().Channel(); c.LastSuccess == nil {
		t.Error("it was not handed over")
	}
}

// A client that does not answer a ping in write_timeout has gone.
func TestSocketPing(t *testing.T) {
	r := startEvery(t, &periods{heartbeat: time.Hour, keepAlive: time.Hour, ping: 10 * time.Millisecond},
		func(c *Config) { c.WriteTimeout = 100 * time.Millisecond })
	alive := r.socket()
	r.socket() // it never reads
	bustest.Eventually(t, "the silent one is cut off", func() bool {
		alive.send(`{"type":"ping","id":"a"}`) // reading, it answers pings as well
		alive.expect("pong", "a")
		return len(r.service.streams) == 1
	})
	alive.send(`{"type":"ping","id":"p"}`)
	alive.expect("pong", "p")
}

// A client that takes nothing is cut off in write_timeout.
func TestSocketWriteTimeout(t *testing.T) {
	r := start(t, func(c *Config) { c.WriteTimeout = 100 * time.Millisecond })
	p := r.socket()
	for i := range maxInFlight {
		p.send(fmt.Sprintf(`{"type":"message","id":"%d","text":"x"}`, i))
	}
	for range maxInFlight { // more than the kernel's buffers hold
		if err := r.agent.reply(<-r.agent.asked, bus.StateAnswered, strings.Repeat("x", 900<<10)); err != nil {
			t.Fatal(err)
		}
	}
	bustest.Eventually(t, "it is cut off", func() bool { return len(r.service.streams) == 0 && r.service.waiters.len() == 0 })
}
