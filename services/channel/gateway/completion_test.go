// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
)

// complete posts a chat completion as subject "me".
func (r *rig) completionHeader(header ...string) []string {
	return append([]string{"Authorization", "Bearer " + r.token("me", "chat"), "Content-Type", "application/json"}, header...)
}

func (r *rig) complete(body string, header ...string) answer {
	r.t.Helper()
	return r.do("POST", "/v1/chat/completions", body, r.completionHeader(header...)...)
}

// answering makes the agent answer as soon as it is asked for the message.
func (r *rig) answering(state, text string) {
	go func() {
		select {
		case id := <-r.agent.asked:
			_ = r.agent.reply(id, state, text)
		case <-r.t.Context().Done():
		}
	}()
}

// blame returns what an error in OpenAI's shape says.
func (a answer) blame(t *testing.T) openAIErrorDetail {
	t.Helper()
	var body openAIErrorBody
	if a.decode(t, &body); body.Error.Message == "" || body.Error.Type == "" || body.Error.Code == "" {
		t.Fatalf("not the shape of an error: %s", a.body)
	}
	return body.Error
}

const hello = `{"model":"blufio","messages":[{"role":"user","content":"hello"}]}`

func TestCompletion(t *testing.T) {
	r := start(t)
	held := 0 // slots of bodies, while the agent stores it
	r.agent.set(func() { r.agent.received = func(string) { held = len(r.service.bodies) } })
	r.answering(bus.StateAnswered, "hi <there>")
	a := r.complete(hello)
	var body completionBody
	if a.decode(t, &body); a.status != 200 || body.Object != "chat.completion" || body.ID != "chatcmpl-m1" || body.Model != "blufio" || len(body.Choices) != 1 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	c := body.Choices[0]
	if *c.Message.Content != "hi <there>" || c.Message.Role != "assistant" || *c.FinishReason != "stop" {
		t.Errorf("got %s", a.body)
	}
	if u := *body.Usage; u.Prompt != 2 || u.Completion != 3 || u.Total != 5 {
		t.Errorf("usage %+v", u)
	}
	got := r.agent.last
	if got.Owner != "me" || got.Channel != "gateway" || got.Text != "hello" || !strings.HasPrefix(got.Session, "completion-") {
		t.Errorf("the agent got %+v", got)
	}
	if w, b := r.service.waiters.len(), len(r.service.bodies); w != 0 || b != 0 || held != 1 {
		t.Errorf("%d waiters and %d slots stay, %d was held", w, b, held)
	}
}

func TestCompletionSession(t *testing.T) {
	const talk = `"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"one"},{"role":"assistant","content":"1"},{"role":"user","content":[{"type":"text","text":"two"}]},{"role":"user","content":"three"}]`
	told := "What came before in this conversation, as the client tells it:\n\n[system]\nBe brief.\n\n[user]\none\n\n[assistant]\n1\n\nWhat is asked now:\n\ntwo\n\nthree"
	tests := []struct {
		name, body string
		header     []string
		session    string // "" is one of its own
		text       string
	}{
		{"its own", `{` + talk + `}`, nil, "", told},
		{"user", `{"user":"work",` + talk + `}`, nil, "work", "two\n\nthree"},
		{"header", `{"user":"work",` + talk + `}`, []string{"X-Blufio-Session", "home"}, "home", "two\n\nthree"},
		{"instructions only", `{"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"x"}]}`, nil, "",
			"What came before in this conversation, as the client tells it:\n\n[developer]\nBe brief.\n\nWhat is asked now:\n\nx"},
		{"members without effect", `{"temperature":0.3,"top_p":1,"max_tokens":5,"stop":null,"tools":[],"n":1,"response_format":{"type":"text"},"unheard_of":{},"messages":[{"role":"user","content":"x"}]}`, nil, "", "x"},
	}
	r := start(t)
	seen := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.answering(bus.StateAnswered, "ok")
			if a := r.complete(tt.body, tt.header...); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			got := r.agent.last
			if got.Text != tt.text || tt.session != "" && got.Session != tt.session || seen[got.Session] && tt.session == "" {
				t.Errorf("session %q, text %q", got.Session, got.Text)
			}
			seen[got.Session] = true
		})
	}
}

func TestCompletionIsRefused(t *testing.T) {
	user := func(members string) string {
		return `{` + members + `,"messages":[{"role":"user","content":"x"}]}`
	}
	messages := func(m string) string { return `{"messages":[` + m + `]}` }
	tests := []struct {
		name, body  string
		status      int
		code, param string
	}{
		{"unknown model", user(`"model":"gpt-4o"`), 404, "model_not_found", "model"},
		{"n", user(`"n":2`), 400, "unsupported_parameter", "n"},
		{"tools", user(`"tools":[{"type":"function"}]`), 400, "unsupported_parameter", "tools"},
		{"functions", user(`"functions":[{}]`), 400, "unsupported_parameter", "functions"},
		{"json schema", user(`"response_format":{"type":"json_schema"}`), 400, "unsupported_parameter", "response_format"},
		{"audio", user(`"modalities":["text","audio"]`), 400, "unsupported_parameter", "modalities"},
		{"audio voice", user(`"audio":{"voice":"x"}`), 400, "unsupported_parameter", "audio"},
		{"logprobs", user(`"logprobs":true`), 400, "unsupported_parameter", "logprobs"},
		{"stop", user(`"stop":["x"]`), 400, "unsupported_parameter", "stop"},
		{"image", messages(`{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"x"}}]}`), 400, "unsupported_parameter", "messages[0].content[1].type"},
		{"tool's role", messages(`{"role":"tool","content":"x"},{"role":"user","content":"x"}`), 400, "unsupported_parameter", "messages[0].role"},
		{"tool call", messages(`{"role":"assistant","tool_calls":[{}]},{"role":"user","content":"x"}`), 400, "unsupported_parameter", "messages[0].tool_calls"},
		{"unknown role", messages(`{"role":"boss","content":"x"}`), 400, "invalid", "messages[0].role"},
		{"content", messages(`{"role":"user","content":7}`), 400, "invalid", "messages[0].content"},
		{"no messages", `{}`, 400, "invalid", "messages"},
		{"empty", messages(`{"role":"user","content":" "}`), 400, "invalid", "messages"},
		{"assistant last", messages(`{"role":"user","content":"x"},{"role":"assistant","content":"y"}`), 400, "invalid", "messages"},
		{"messages of no type", messages(strings.Repeat("0,", 100_000) + "0"), 400, "invalid", "messages[0]"},
		{"no array", `{"messages":7}`, 400, "invalid", "messages"},
		{"role's type", messages(`{"role":7}`), 400, "invalid", "messages[0].role"},
		{"too many", messages(strings.Repeat(`{"role":"user"},`, maxElements) + `{"role":"user","content":"x"}`), 400, "invalid", "messages"},
		{"too many parts", messages(`{"role":"user","content":[` + strings.Repeat(`{"type":"text"},`, maxElements) + `{"type":"text","text":"x"}]}`), 400, "invalid", "messages[0].content"},
		{"parts of no type", messages(`{"role":"user","content":[0]}`), 400, "invalid", "messages[0].content[0]"},
		{"wrong type", user(`"stream":"yes"`), 400, "invalid", "stream"},
		{"null", `null`, 400, "invalid", ""},
		{"syntax", `{"messages":`, 400, "invalid", ""},
		{"not UTF-8", "{\"user\":\"\xff\"}", 400, "invalid", ""},
	}
	r := start(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := r.complete(tt.body)
			e := a.blame(t)
			param := ""
			if e.Param != nil {
				param = *e.Param
			}
			if a.status != tt.status || string(e.Code) != tt.code || param != tt.param || e.Type != "invalid_request_error" {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
	for header, want := range map[string]string{"": "invalid_api_key", "Bearer x": "invalid_api_key"} {
		a := r.do("POST", "/v1/chat/completions", hello, "Authorization", header, "Content-Type", "application/json")
		if e := a.blame(t); a.status != 401 || string(e.Code) != want || e.Type != "authentication_error" {
			t.Errorf("token %q: %d %s", header, a.status, a.body)
		}
	}
	if a := r.do("GET", "/v1/models", "", "Authorization", "Bearer "+r.token("me", "status")); a.status != 403 || a.blame(t).Type != "permission_error" {
		t.Errorf("other scope: %d %s", a.status, a.body)
	}
	if len(r.agent.order) != 0 {
		t.Errorf("%d messages reached the agent", len(r.agent.order))
	}
}

func TestModels(t *testing.T) {
	r := start(t)
	var list struct {
		Object string
		Data   []modelBody
	}
	a := r.get("/v1/models", "me", "chat")
	if a.decode(t, &list); a.status != 200 || list.Object != "list" || len(list.Data) != 1 || list.Data[0].ID != "blufio" || list.Data[0].OwnedBy != "blufio" || list.Data[0].Created == 0 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	var one modelBody
	if r.get("/v1/models/blufio", "me", "chat").decode(t, &one); one != list.Data[0] {
		t.Errorf("got %+v", one)
	}
	if a := r.get("/v1/models/gpt-4o", "me", "chat"); a.status != 404 || a.blame(t).Code != "model_not_found" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// What the agent cannot do, and what is only late.
func TestCompletionFails(t *testing.T) {
	short := func(c *Config) { c.MaxAnswer = 30 * time.Millisecond }
	tests := []struct {
		name   string
		change []func(*Config)
		before func(r *rig)
		during func(r *rig, id string)
		status int
		code   bus.Code
		retry  string // X-Should-Retry
		sound  bool   // nothing is wrong with the channel
	}{
		{name: "busy", before: func(r *rig) { r.agent.fail = bus.Errorf(bus.CodeBusy, "full") }, status: 503, code: "busy"},
		{name: "handed over late", before: func(r *rig) { r.agent.fail = bus.Errorf(bus.CodeTimeout, "slow") }, status: 504, code: "timeout", retry: "false"},
		{name: "cut off", before: func(r *rig) { r.agent.fail = bus.Errorf(bus.CodeUnavailable, "the bus connection is closed") }, status: 503, code: "unavailable", retry: "false"},
		{name: "nobody there", before: func(r *rig) { _ = r.agent.conn.Drain(r.t.Context()) }, status: 503, code: "unavailable"},
		{name: "broken", before: func(r *rig) { r.agent.fail = errors.New("x") }, status: 500, code: "internal"},
		{name: "over budget", status: 402, code: "budget_exhausted", retry: "false", during: func(r *rig, id string) {
			r.agent.set(func() { r.agent.byID[id].Error = bus.CodeBudget })
			_ = r.agent.reply(id, bus.StateFailed, "the budget is spent")
		}},
		{name: "the vendor takes no key", status: 502, code: "denied", retry: "false", during: func(r *rig, id string) {
			r.agent.set(func() { r.agent.byID[id].Error = bus.CodeDenied })
			_ = r.agent.reply(id, bus.StateFailed, "the vendor does not accept the key")
		}},
		{name: "dead", status: 500, code: "internal", retry: "false", during: func(r *rig, id string) { _ = r.agent.reply(id, bus.StateDead, "given up") }},
		{name: "too late", change: []func(*Config){short}, status: 504, code: "timeout", retry: "false", sound: true},
		{name: "stopped", status: 503, code: "unavailable", retry: "false", sound: true, during: func(r *rig, _ string) { r.stop() }},
	}
	for _, tt := range tests {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream %v", tt.name, stream), func(t *testing.T) {
				r := start(t, tt.change...)
				if tt.before != nil {
					tt.before(r)
				}
				done := make(chan struct{})
				header := r.completionHeader()
				go func() {
					defer close(done)
					if tt.during != nil {
						tt.during(r, <-r.agent.asked)
					}
				}()
				a := r.do("POST", "/v1/chat/completions", `{"stream":`+fmt.Sprint(stream)+`,"messages":[{"role":"user","content":"x"}]}`, header...)
				<-done
				if c := r.service.Door().Channel(); tt.sound && c.LastError != nil {
					t.Errorf("the channel's last error: %s", *c.LastError)
				}
				if a.status != 200 {
					if e := a.blame(t); a.status != tt.status || e.Code != tt.code || a.header.Get("X-Should-Retry") != tt.retry {
						t.Errorf("got %d %s, retry %q", a.status, a.body, a.header.Get("X-Should-Retry"))
					}
					return
				}
				if !stream || strings.Contains(a.body, "[DONE]") || strings.Contains(a.body, `"finish_reason":"stop"`) || !strings.Contains(a.body, `"code":"`+string(tt.code)+`"`) {
					t.Errorf("got %s", a.body)
				}
			})
		}
	}
}

// deltaOf returns what a chunk adds, and its finish reason.
func deltaOf(t *testing.T, ev event) (text, finish string) {
	t.Helper()
	var body completionBody
	if err := json.Unmarshal([]byte(ev.data), &body); err != nil || body.Object != "chat.completion.chunk" {
		t.Fatalf("not a chunk: %q %v", ev.data, err)
	}
	for _, c := range body.Choices {
		if c.Delta.Content != nil {
			text = *c.Delta.Content
		}
		if c.FinishReason != nil {
			finish = *c.FinishReason
		}
	}
	return text, finish
}

// collect reads a stream to its end.
func (e *eventReader) collect() (text string, done bool, failure string) {
	for {
		ev, ok := e.next()
		switch {
		case !ok:
			return text, done, failure
		case ev.comment != "":
		case ev.data == "[DONE]":
			done = true
		case strings.HasPrefix(ev.data, `{"error"`):
			failure = ev.data
		default:
			part, _ := deltaOf(e.t, ev)
			text += part
		}
	}
}

const helloStream = `{"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello"}]}`

func TestStream(t *testing.T) {
	r := start(t)
	// The agent is quick: it speaks before it has told the id.
	r.agent.set(func() { r.agent.received = func(id string) { r.agent.say(id, 1, 0, 0, "Hel") } })
	s := r.open("POST", "/v1/chat/completions", helloStream, r.completionHeader()...)
	first, _ := s.next()
	if text, _ := deltaOf(t, first); text != "" || !strings.Contains(first.data, `"role":"assistant"`) {
		t.Errorf("first chunk %s", first.data)
	}
	got := ""
	read := func() event { // partial text is there before the reply is
		ev, _ := s.next()
		text, _ := deltaOf(t, ev)
		got += text
		return ev
	}
	for got != "Hel" {
		read()
	}
	r.agent.say("m1", 1, 0, 1, "lo, ")
	for got != "Hello, " {
		read()
	}
	if err := r.agent.reply("m1", bus.StateAnswered, "Hello, you"); err != nil {
		t.Fatal(err)
	}
	read()
	if got != "Hello, you" {
		t.Errorf("got %q", got)
	}
	last := read()
	if _, finish := deltaOf(t, last); finish != "stop" {
		t.Errorf("last chunk %s", last.data)
	}
	var usage completionBody
	if ev, _ := s.next(); json.Unmarshal([]byte(ev.data), &usage) != nil || len(usage.Choices) != 0 || usage.Usage == nil || usage.Usage.Total != 5 {
		t.Errorf("usage chunk %s", ev.data)
	}
	if ev, _ := s.next(); ev.data != "[DONE]" {
		t.Errorf("end %s", ev.data)
	}
	if ev, ok := s.next(); ok {
		t.Errorf("behind the end: %+v", ev)
	}
}

// The stream of a turn that begins anew ends without an answer; the others tell
// nothing of it.
func TestStreamIsVoid(t *testing.T) {
	r := start(t)
	s := r.open("POST", "/v1/chat/completions", helloStream, r.completionHeader()...)
	<-r.agent.asked
	r.agent.say("m1", 1, 0, 0, "Half a sen")
	s.until(func(ev event) bool { text, _ := deltaOf(t, ev); return text != "" })
	r.agent.say("m1", 2, 0, 0, "Another")
	if err := r.agent.reply("m1", bus.StateAnswered, "Another answer"); err != nil {
		t.Fatal(err)
	}
	text, done, failure := s.collect()
	if text != "" || done || !strings.Contains(failure, "stream_interrupted") || !strings.Contains(failure, "/v1/messages/m1") {
		t.Errorf("%q %v %s", text, done, failure)
	}
}

// Partial text of another message of the same owner is not shown.
func TestStreamsDoNotMix(t *testing.T) {
	r := start(t)
	first := r.open("POST", "/v1/chat/completions", helloStream, r.completionHeader()...)
	second := r.open("POST", "/v1/chat/completions", helloStream, r.completionHeader()...)
	<-r.agent.asked
	<-r.agent.asked
	for n := range 5 {
		r.agent.say("m1", 1, 0, n, "a")
		r.agent.say("m2", 1, 0, n, "b")
	}
	_ = r.agent.reply("m2", bus.StateAnswered, "bbbbbb")
	_ = r.agent.reply("m1", bus.StateAnswered, "aaaaaa")
	for s, want := range map[*eventReader]string{first: "aaaaaa", second: "bbbbbb"} {
		if text, done, failure := s.collect(); text != want || !done || failure != "" {
			t.Errorf("got %q %v %s, want %q", text, done, failure, want)
		}
	}
}

// A client that hangs up leaves nothing behind, and the turn goes on.
func TestStreamAbort(t *testing.T) {
	r := start(t)
	s := r.open("POST", "/v1/chat/completions", helloStream, r.completionHeader()...)
	<-r.agent.asked
	r.agent.say("m1", 1, 0, 0, "Hel")
	s.until(func(ev event) bool { text, _ := deltaOf(t, ev); return text == "Hel" })
	s.close()
	bustest.Eventually(t, "no waiter stays", func() bool { return r.service.waiters.len() == 0 })
	if err := r.agent.reply("m1", bus.StateAnswered, "Hello"); err != nil {
		t.Fatal(err)
	}
	if a := r.get("/v1/messages/m1", "me", "chat"); !strings.Contains(a.body, `"reply":"Hello"`) {
		t.Errorf("got %s", a.body)
	}
}

func TestCompletionAgain(t *testing.T) {
	r := start(t)
	r.answering(bus.StateAnswered, "hi")
	first := r.complete(hello, "Idempotency-Key", "k")
	session := r.agent.last.Session
	second := r.complete(helloStream, "Idempotency-Key", "k")
	if first.status != 200 || second.status != 200 || r.agent.last.Session != session || len(r.agent.order) != 1 || !strings.Contains(second.body, `"content":"hi"`) {
		t.Errorf("got %s, then %s", first.body, second.body)
	}
}

func TestStreamKeepAlive(t *testing.T) {
	r := startEvery(t, &periods{heartbeat: time.Hour, keepAlive: time.Millisecond, ping: time.Hour})
	s := r.open("POST", "/v1/chat/completions", helloStream, r.completionHeader()...)
	for range 2 {
		s.until(func(ev event) bool { return ev.comment == "keep-alive" })
	}
	if err := r.agent.reply("m1", bus.StateAnswered, "hi"); err != nil {
		t.Fatal(err)
	}
	if text, done, failure := s.collect(); text != "hi" || !done || failure != "" {
		t.Errorf("%q %v %s", text, done, failure)
	}
}

func TestTooManyCompletions(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxWaiters = 1 })
	r.open("POST", "/v1/chat/completions", helloStream, r.completionHeader()...)
	if a := r.complete(hello); a.status != 503 || a.blame(t).Code != "busy" || len(r.agent.order) != 1 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
