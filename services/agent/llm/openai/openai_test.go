// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/agent/llm/wire"
	"github.com/blufio/blufio/services/config"
)

const key = "sk-proj-verySecret0123456789"

// rig is a provider in front of a scripted server. Its clock stands still and
// goes on by sleeping.
type rig struct {
	*Provider
	fake   *fakellm.OpenAI
	now    time.Time
	sleeps []time.Duration
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{fake: fakellm.NewOpenAI(t), now: time.Date(2026, 10, 21, 7, 0, 0, 0, time.UTC)}
	cfg := Defaults()
	cfg.BaseURL, cfg.APIKey = r.fake.URL(), config.NewSecret(key)
	for _, c := range change {
		c(&cfg)
	}
	p, err := New(cfg, Deps{
		Now:    func() time.Time { return r.now },
		Jitter: func(d time.Duration) time.Duration { return d },
		Sleep: func(_ context.Context, d time.Duration) error {
			r.sleeps = append(r.sleeps, d)
			r.now = r.now.Add(d)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	r.Provider = p
	return r
}

var hello = llm.Request{Model: "m", System: "Be brief.", MaxTokens: 50, Messages: []llm.Message{{Role: llm.User, Text: "hello there, you"}}}

// ask asks for hello and returns the answer, what was streamed, and the error.
func (r *rig) ask(t *testing.T) (llm.Response, string, error) {
	t.Helper()
	var streamed strings.Builder
	resp, err := r.Complete(t.Context(), hello, func(text string) { streamed.WriteString(text) })
	return resp, streamed.String(), err
}

func TestRequest(t *testing.T) {
	r := newRig(t)
	r.fake.RequireKey(key)
	schema := json.RawMessage(`{"type":"object","properties":{"text":{"type":"string"}}}`)
	_, err := r.Complete(t.Context(), llm.Request{
		System: "Be brief.", MaxTokens: 123,
		Tools: []llm.ToolSpec{{Name: "recall", Description: "Finds.", Schema: schema}, {Name: "time"}},
		Messages: []llm.Message{
			{Role: llm.User, Text: "hi"},
			{Role: llm.Assistant, Calls: []llm.ToolCall{{ID: "a", Name: "recall", Input: json.RawMessage(`{"text":"x"}`)}, {ID: "b", Name: "time", Input: json.RawMessage(`{}`)}}},
			{Role: llm.User, Results: []llm.ToolResult{{CallID: "a", Text: "found"}, {CallID: "b", Text: "", Failed: true}}},
			{Role: llm.Assistant, Text: "there"},
			{Role: llm.User, Text: "well", Notes: "known: x"},
			{Role: llm.User, Text: "bye", Images: []llm.Image{{MediaType: "image/png", Data: []byte("png")}}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := r.fake.Requests()[0]
	said := func(s string) *string { return &s }
	call := func(id, name, args string) fakellm.ToolCall {
		return fakellm.ToolCall{ID: id, Type: "function", Function: fakellm.Call{Name: name, Arguments: args}}
	}
	want := []fakellm.Message{
		{Role: "system", Content: said("Be brief.")},
		{Role: "user", Content: said("hi")},
		{Role: "assistant", ToolCalls: []fakellm.ToolCall{call("a", "recall", `{"text":"x"}`), call("b", "time", `{}`)}},
		{Role: "tool", ToolCallID: "a", Content: said("found")},
		{Role: "tool", ToolCallID: "b", Content: said("")},
		{Role: "assistant", Content: said("there")},
		{Role: "user", Content: said("well\n\nknown: x")},
		{Role: "user", Parts: []fakellm.Part{{Type: "image_url"}, {Type: "text", Text: "bye"}}},
	}
	if parts := got.Messages[len(got.Messages)-1].Parts; len(parts) != 2 || parts[0].ImageURL == nil || parts[0].ImageURL.URL != "data:image/png;base64,cG5n" {
		t.Fatalf("parts are %+v", parts)
	}
	want[len(want)-1].Parts[0].ImageURL = got.Messages[len(want)-1].Parts[0].ImageURL
	if !reflect.DeepEqual(got.Messages, want) {
		t.Errorf("messages are %s", asJSON(t, got.Messages))
	}
	if len(got.Tools) != 2 || got.Tools[0].Type != "function" || got.Tools[0].Function.Name != "recall" || string(got.Tools[0].Function.Parameters) != string(schema) {
		t.Errorf("tools are %s", asJSON(t, got.Tools))
	}
	if got.Model != DefaultModel || !got.Stream || !got.StreamOptions["include_usage"] {
		t.Errorf("asked %+v", got)
	}
	if got.MaxTokens == nil || *got.MaxTokens != 123 || got.MaxCompletionTokens != nil {
		t.Errorf("a compatible server got max_tokens %v, max_completion_tokens %v", got.MaxTokens, got.MaxCompletionTokens)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Where no tool may be called they are still shown: the calls made before are
// theirs, and the cache finds the prompt again.
func TestNoTools(t *testing.T) {
	r := newRig(t)
	req := hello
	req.Tools = []llm.ToolSpec{{Name: "time"}}
	for _, no := range []bool{false, true} {
		req.NoTools = no
		if _, err := r.Complete(t.Context(), req, nil); err != nil {
			t.Fatal(err)
		}
	}
	asked := r.fake.Requests()
	if asked[0].ToolChoice != "" || asked[1].ToolChoice != "none" || len(asked[1].Tools) != 1 {
		t.Errorf("asked %+v", asked)
	}
}

// Only OpenAI itself has the new name of the bound.
func TestBoundByHost(t *testing.T) {
	for base, official := range map[string]bool{DefaultURL: true, "https://API.openai.com./v1/": true, "https://openrouter.ai/api/v1": false, "https://api.openai.com.evil.example/v1": false} {
		p, err := New(Config{BaseURL: base}, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		q := p.request(hello)
		if (q.MaxCompletionTokens == 50) != official || (q.MaxTokens == 50) == official {
			t.Errorf("%s: max_tokens %d, max_completion_tokens %d", base, q.MaxTokens, q.MaxCompletionTokens)
		}
		if p.cfg.KeyNeeded() != (official || strings.Contains(base, "openrouter")) {
			t.Errorf("%s: key needed %v", base, p.cfg.KeyNeeded())
		}
	}
}

func TestNoKeyNoHeader(t *testing.T) {
	r := newRig(t, func(c *Config) { c.APIKey = config.Secret{} })
	if _, _, err := r.ask(t); err != nil {
		t.Fatal(err)
	}
	if h, there := r.fake.Requests()[0].Header["Authorization"]; there {
		t.Errorf("an Authorization header without a key: %q", h)
	}
}

func TestAnswers(t *testing.T) {
	estimate := bus.Usage{Input: 7, Output: 2} // 25 bytes asked, 5 to 8 answered
	for name, c := range map[string]struct {
		script []fakellm.Answer
		text   string
		usage  bus.Usage
	}{
		"in pieces":                          {[]fakellm.Answer{fakellm.Says("Hel", "lo ", "🙂")}, "Hello 🙂", bus.Usage{Input: 100, Output: 10}},
		"cached":                             {[]fakellm.Answer{{Text: []string{"x"}, Usage: &fakellm.Usage{Prompt: 1000, Cached: 960, Completion: 7}}}, "x", bus.Usage{Input: 40, CacheRead: 960, Output: 7}},
		"more cached than read":              {[]fakellm.Answer{{Text: []string{"x"}, Usage: &fakellm.Usage{Prompt: 10, Cached: 960, Completion: 7}}}, "x", bus.Usage{CacheRead: 10, Output: 7}},
		"nothing counted":                    {[]fakellm.Answer{{Text: []string{"Hello"}}}, "Hello", estimate},
		"counted nonsense":                   {[]fakellm.Answer{{Text: []string{"Hello"}, Usage: &fakellm.Usage{Prompt: -5, Completion: 1 << 60}}}, "Hello", estimate},
		"counted zero":                       {[]fakellm.Answer{{Text: []string{"Hello"}, Usage: &fakellm.Usage{}}}, "Hello", estimate},
		"no [DONE]":                          {[]fakellm.Answer{{Text: []string{"Hello"}, End: fakellm.NoDone}}, "Hello", estimate},
		"broken behind its end":              {[]fakellm.Answer{{Text: []string{"Hello"}, End: fakellm.CutLate}}, "Hello", estimate},
		"too long":                           {[]fakellm.Answer{{Text: []string{"Once"}, Finish: "length", Usage: &fakellm.Usage{Prompt: 1, Completion: 1}}}, "Once" + wire.Cut, bus.Usage{Input: 1, Output: 1}},
		"after refusals":                     {[]fakellm.Answer{fakellm.Limited(""), fakellm.Fails(503, "", "busy"), fakellm.Says("yes")}, "yes", bus.Usage{Input: 100, Output: 10}},
		"refused in the stream":              {[]fakellm.Answer{{Status: 200, Code: "429", Error: "upstream"}, fakellm.Says("yes")}, "yes", bus.Usage{Input: 100, Output: 10}},
		"broken before it began, paid twice": {[]fakellm.Answer{{Raw: ": wait\n\n", End: fakellm.Cut}, fakellm.Says("yes")}, "yes", bus.Usage{Input: 107, Output: 10}},
		"comments, no spaces, CRLF": {[]fakellm.Answer{{Raw: ": OPENROUTER PROCESSING\r\n\r\nevent: x\r\ndata:{\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\r\n\r\n" +
			"data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\"},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: {\"choices\":null}\r\n\r\ndata: [DONE]"}}, "Hello", estimate},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fake.Script(c.script...)
			got, streamed, err := r.ask(t)
			if err != nil || got.Text != c.text || streamed != c.text || got.Usage != c.usage || len(got.Calls) > 0 || got.Model != "m" {
				t.Errorf("%+v, streamed %q, %v", got, streamed, err)
			}
			if n := len(r.fake.Requests()); n != len(c.script) {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestToolCalls(t *testing.T) {
	frame := func(calls string) string {
		return `data: {"choices":[{"delta":{"tool_calls":[` + calls + `]}}]}` + "\n\n"
	}
	end := "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	for name, c := range map[string]struct {
		answer fakellm.Answer
		want   string
	}{
		"two, in pieces": {fakellm.Uses(fakellm.Call{Name: "recall", Arguments: `{"query":"the boiler, ü"}`}, fakellm.Call{Name: "time", Arguments: `{}`}),
			`[{"id":"call_a","name":"recall","input":{"query":"the boiler, ü"}},{"id":"call_b","name":"time","input":{}}]`},
		"no arguments":  {fakellm.Uses(fakellm.Call{Name: "time"}), `[{"id":"call_a","name":"time","input":{}}]`},
		"null":          {fakellm.Uses(fakellm.Call{Name: "time", Arguments: "null"}), `[{"id":"call_a","name":"time","input":{}}]`},
		"garbled":       {fakellm.Uses(fakellm.Call{Name: "time", Arguments: `{"a":`}), `[{"id":"call_a","name":"time","input":{"not_a_json_object":"{\"a\":"}}]`},
		"not an object": {fakellm.Uses(fakellm.Call{Name: "time", Arguments: `["a"]`}), `[{"id":"call_a","name":"time","input":{"not_a_json_object":"[\"a\"]"}}]`},
		"one index for all": {fakellm.Answer{Raw: frame(`{"index":0,"id":"x","function":{"name":"a","arguments":"{}"}}`) + frame(`{"index":0,"id":"y","function":{"name":"b","arguments":"{"}}`) +
			frame(`{"index":0,"function":{"arguments":"}"}}`) + end}, `[{"id":"x","name":"a","input":{}},{"id":"y","name":"b","input":{}}]`},
		"mixed up, without ids": {fakellm.Answer{Raw: frame(`{"index":1,"function":{"name":"a","arguments":"{\"n\""}},{"index":0,"function":{"name":"b"}}`) +
			frame(`{"index":1,"function":{"arguments":":1}"}}`) + end}, `[{"id":"call_1","name":"a","input":{"n":1}},{"id":"call_2","name":"b","input":{}}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fake.Script(c.answer)
			got, _, err := r.ask(t)
			if err != nil || asJSON(t, got.Calls) != c.want || got.Text != "" {
				t.Errorf("%s, %v", asJSON(t, got.Calls), err)
			}
		})
	}
}

// Whatever goes wrong has a code, words for a person, and neither the key nor an
// answer.
func TestFailures(t *testing.T) {
	frame := func(s string) fakellm.Answer { return fakellm.Answer{Raw: s} }
	fails := fakellm.Fails
	for name, c := range map[string]struct {
		answer fakellm.Answer
		code   bus.Code
		says   string // in the message
		hint   string
		tries  int
	}{
		"wrong key":           {fails(401, "invalid_api_key", "Incorrect API key provided: "+key), bus.CodeDenied, "does not accept the API key (HTTP 401)", "openai.api_key", 1},
		"forbidden":           {fails(403, "", "no"), bus.CodeDenied, "HTTP 403", "openai.api_key", 1},
		"no credit":           {fails(429, "insufficient_quota", "You exceeded your current quota"), bus.CodeDenied, "no credit", "add credit", 1},
		"no credit, 402":      {fails(402, "", "Insufficient credits"), bus.CodeDenied, "no credit", "add credit", 1},
		"no model":            {fails(404, "model_not_found", "The model `m` does not exist"), bus.CodeInvalid, "has no model m", "agent.model", 1},
		"no model, Ollama's":  {fails(404, "", `model "m" not found, try pulling it first`), bus.CodeInvalid, "has no model m", "agent.model", 1},
		"no endpoint":         {fakellm.Answer{Status: 404, Raw: "404 page not found"}, bus.CodeInvalid, "no Chat Completions", "openai.base_url", 1},
		"too long":            {fails(400, "context_length_exceeded", "…"), bus.CodeInvalid, "too long", "/new", 1},
		"too long, vLLM's":    {fails(400, "400", "However, the model's context length is only 1024 tokens"), bus.CodeInvalid, "too long", "/new", 1},
		"filtered before":     {fails(400, "content_filter", "policy"), bus.CodeInvalid, "content filter", "another model", 1},
		"filtered within":     {fakellm.Answer{Text: []string{"How to"}, Finish: "content_filter"}, bus.CodeInvalid, "content filter", "another model", 1},
		"refused":             {fakellm.Answer{Refusal: "I can't help\nwith that."}, bus.CodeInvalid, "the model refused: I can't help with that.", "", 1},
		"bad request":         {fails(400, "", "Unsupported value.\nkey "+key+" "+strings.Repeat("x", 999)), bus.CodeInvalid, "HTTP 400): Unsupported value. key [redacted] xxx", "agent.model", 1},
		"bad request, bare":   {fakellm.Answer{Status: 422, Raw: `{"error":"no such field"}`}, bus.CodeInvalid, "no such field", "agent.model", 1},
		"bad request, detail": {fakellm.Answer{Status: 422, Raw: `{"detail":"no such field"}`}, bus.CodeInvalid, "no such field", "agent.model", 1},
		"bad request, page":   {fakellm.Answer{Status: 400, Raw: "<html>" + key}, bus.CodeInvalid, "does not take the question (HTTP 400)", "openai.base_url", 1},
		"limited":             {fakellm.Limited(""), bus.CodeUnavailable, "slow down", "", wire.MaxTries},
		"down":                {fails(500, "", "boom "+key), bus.CodeUnavailable, "cannot answer now (HTTP 500)", "", wire.MaxTries},
		"bad gateway":         {fakellm.Answer{Status: 502, Raw: "<html>", Type: "text/html"}, bus.CodeUnavailable, "HTTP 502", "", wire.MaxTries},
		"elsewhere":           {fakellm.Answer{Status: 307, Header: http.Header{"Location": {"https://example.com/" + key}}, Raw: "."}, bus.CodeInvalid, "pointed elsewhere: redirect to example.com", "openai.base_url", 1},
		"error as the answer": {fakellm.Answer{Raw: `{"error":{"message":"no","code":"model_not_found"}}`, Type: "application/json"}, bus.CodeInvalid, "has no model", "agent.model", 1},
		"error, then nothing": {fakellm.Answer{Status: 200, Error: "boom", Code: "502"}, bus.CodeUnavailable, "cannot answer now", "", wire.MaxTries},
		"error after text":    {fakellm.Answer{Text: []string{"half"}, Error: "boom " + key, Code: "502"}, bus.CodeUnavailable, "cannot answer now", "", 1},
		"wrong key within":    {fakellm.Answer{Status: 200, Error: "no", Code: "invalid_api_key"}, bus.CodeDenied, "does not accept the API key", "openai.api_key", 1},
		"cut off":             {fakellm.Answer{Text: []string{"half an ans"}, End: fakellm.Cut}, bus.CodeUnavailable, "broke off", "", 1},
		"ended in good order": {frame("data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n"), bus.CodeUnavailable, "broke off", "", 1},
		"done, not finished":  {frame("data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\ndata: [DONE]\n\n"), bus.CodeUnavailable, "broke off", "", 1},
		"cut within a frame":  {frame("data: {\"choices\":[{\"delta\":{\"content\":\"half\"},\"finish_reason\":\"stop\"}]}"), bus.CodeUnavailable, "broke off", "", wire.MaxTries},
		"nothing":             {frame("\n"), bus.CodeUnavailable, "broke off", "", wire.MaxTries},
		"cut before its call": {fakellm.Answer{Calls: []fakellm.Call{{Name: "pay", Arguments: `{}`}}, End: fakellm.Cut}, bus.CodeUnavailable, "broke off", "", 1},
		"error finish":        {fakellm.Answer{Text: []string{"half"}, Finish: "error"}, bus.CodeUnavailable, "error", "", 1},
		"garbage":             {frame("data: " + key + "\n\n"), bus.CodeInternal, "does not answer as Chat Completions do", "openai.base_url", 1},
		"wrong types":         {frame("data: {\"choices\":7}\n\n"), bus.CodeInternal, "not the JSON", "openai.base_url", 1},
		"a page":              {fakellm.Answer{Raw: "<html><body>Welcome " + key + "</body></html>", Type: "text/html"}, bus.CodeInternal, "did not stream", "openai.base_url", 1},
		"not streamed":        {fakellm.Answer{Raw: `{"choices":[{"message":{"content":"hi"}}]}`, Type: "application/json"}, bus.CodeInternal, "did not stream", "openai.base_url", 1},
		"an endless line":     {frame("data: " + strings.Repeat("x", wire.MaxFrame+1)), bus.CodeInternal, "longer than", "openai.base_url", 1},
		"an endless frame":    {frame(strings.Repeat("data: "+strings.Repeat("x", 1<<16)+"\n", 17)), bus.CodeInternal, "longer than", "openai.base_url", 1},
		"an endless answer":   {fakellm.Says(strings.Repeat("x", wire.MaxAnswer/2), strings.Repeat("x", wire.MaxAnswer/2), "x"), bus.CodeInternal, "over 1048576 bytes", "", 1},
		"endless calls":       {fakellm.Uses(make([]fakellm.Call, wire.MaxCalls+1)...), bus.CodeInternal, "32 tool calls", "", 1},
		"a call of nothing":   {fakellm.Uses(fakellm.Call{}), bus.CodeInternal, "without naming it", "", 1},
		"empty":               {fakellm.Answer{}, bus.CodeUnavailable, "empty answer", "", 1},
		"only thought":        {fakellm.Answer{Finish: "length"}, bus.CodeInvalid, "thinking", "agent.max_reply_tokens", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fake.Always(c.answer)
			got, _, err := r.ask(t)
			fakellm.Failure{Code: c.code, Says: c.says, Hint: c.hint, Tries: c.tries}.Check(t, key, got, err, len(r.fake.Requests()))
		})
	}
}

// The transcripts in testdata have the form of the vendor's document, which each
// of them names.
func TestTranscripts(t *testing.T) {
	for file, want := range map[string]llm.Response{
		"text": {Text: "The boiler is warm.", Usage: bus.Usage{Input: 86, CacheRead: 1920, Output: 9}},
		"tool_calls": {Calls: []llm.ToolCall{{ID: "call_Recall", Name: "recall", Input: json.RawMessage(`{"query": "boiler"}`)},
			{ID: "call_Time", Name: "time", Input: json.RawMessage(`{}`)}}, Usage: bus.Usage{Input: 82, Output: 17}},
	} {
		data, err := os.ReadFile("testdata/" + file + ".sse")
		if err != nil {
			t.Fatal(err)
		}
		want.Model = "gpt-4o-mini-2024-07-18"
		r := newRig(t)
		r.fake.Script(fakellm.Answer{Raw: string(data)})
		if got, _, err := r.ask(t); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", file, got, err)
		}
	}
}

func TestKeyIsAskedFor(t *testing.T) {
	r := newRig(t, func(c *Config) { c.APIKey = config.Secret{} })
	r.fake.RequireKey(key)
	var e *bus.Error
	if _, _, err := r.ask(t); !errors.As(err, &e) || e.Code != bus.CodeDenied || !strings.Contains(e.Message, "wants an API key") || !strings.Contains(e.Hint, "set-secret openai.api_key") {
		t.Errorf("%#v", err)
	}
}

func TestUnreachable(t *testing.T) {
	r := newRig(t)
	r.fake.Die()
	var e *bus.Error
	if _, _, err := r.ask(t); !errors.As(err, &e) || e.Code != bus.CodeUnavailable || !strings.Contains(e.Message, "nothing answers at 127.0.0.1") || !strings.Contains(e.Hint, "openai.base_url") {
		t.Errorf("refused connection: %#v", err)
	}
	if len(r.sleeps) != wire.MaxTries-1 {
		t.Errorf("slept %v", r.sleeps)
	}
}

func TestSilence(t *testing.T) {
	for name, c := range map[string]struct {
		answer fakellm.Answer
		says   string
		tries  int
	}{
		"within": {fakellm.Answer{Text: []string{"half"}, End: fakellm.Stall}, "fell silent for 300ms", 1},
		"before": {fakellm.Answer{Raw: ": wait\n\n", End: fakellm.Stall}, "fell silent for 300ms", wire.MaxTries},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *Config) { c.Timeout = 300 * time.Millisecond })
			r.fake.Always(c.answer)
			if _, _, err := r.ask(t); bus.CodeOf(err) != bus.CodeUnavailable || !strings.Contains(err.Error(), c.says) {
				t.Error(err)
			}
			if n := len(r.fake.Requests()); n != c.tries {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	r := newRig(t)
	r.fake.Script(fakellm.Answer{Text: []string{"half"}, End: fakellm.Stall})
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := r.Complete(ctx, hello, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) || resp.Text != "" || resp.Usage != (bus.Usage{Input: 7, Output: 1}) {
		t.Errorf("%+v, %v", resp, err)
	}
	if n := len(r.fake.Requests()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestPauses(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		room   time.Duration // until the deadline; 0 is none
		want   []time.Duration
		after  time.Duration // in the error
	}{
		"of our own":         {nil, time.Hour, []time.Duration{time.Second / 2, time.Second}, 0},
		"seconds":            {http.Header{"Retry-After": {"7"}}, time.Hour, []time.Duration{7 * time.Second, 7 * time.Second}, 7 * time.Second},
		"milliseconds":       {http.Header{"Retry-After-Ms": {"1500"}, "Retry-After": {"2"}}, time.Hour, []time.Duration{1500 * time.Millisecond, 1500 * time.Millisecond}, 1500 * time.Millisecond},
		"shorter than ours":  {http.Header{"Retry-After": {"0"}}, time.Hour, []time.Duration{time.Second / 2, time.Second}, 0},
		"a date":             {http.Header{"Retry-After": {"Wed, 21 Oct 2026 07:00:09 GMT"}}, time.Hour, []time.Duration{9 * time.Second, time.Second}, 0},
		"longer than we may": {http.Header{"Retry-After": {"60"}}, 30 * time.Second, nil, time.Minute},
		"longer than sane":   {http.Header{"Retry-After": {"9999999"}}, 0, nil, 24 * time.Hour},
		"nonsense":           {http.Header{"Retry-After": {"soon"}}, time.Hour, []time.Duration{time.Second / 2, time.Second}, 0},
		"negative":           {http.Header{"Retry-After": {"-5"}}, time.Hour, []time.Duration{time.Second / 2, time.Second}, 0},
		"no deadline":        {http.Header{"Retry-After": {"60"}}, 0, []time.Duration{time.Minute, time.Minute}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			a := fakellm.Limited("")
			a.Header = c.header
			r.fake.Always(a)
			ctx := t.Context()
			if c.room > 0 { // the deadline is one of the rig's clock
				ctx = lateContext{ctx, r.now.Add(c.room)}
			}
			_, err := r.Complete(ctx, hello, nil)
			var e *bus.Error
			if !errors.As(err, &e) || e.RetryAfter != c.after || !reflect.DeepEqual(r.sleeps, c.want) {
				t.Errorf("slept %v, %#v", r.sleeps, err)
			}
		})
	}
}

// lateContext has a deadline that only the provider looks at.
type lateContext struct {
	context.Context
	at time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.at, true }

// One connection serves one question after the other.
func TestConnectionsAreKept(t *testing.T) {
	r := newRig(t)
	r.fake.Script(fakellm.Says("a"), fakellm.Limited(""), fakellm.Says("b"), fakellm.Answer{Text: []string{"c"}, End: fakellm.NoDone})
	for range 3 {
		if _, _, err := r.ask(t); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.fake.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
