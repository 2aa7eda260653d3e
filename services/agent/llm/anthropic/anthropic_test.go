// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/agent/llm/wire"
	"github.com/blufio/blufio/services/config"
)

const key = "sk-ant-verySecret0123456789"

// rig is a provider in front of a scripted server. Its clock stands still and
// goes on by sleeping.
type rig struct {
	*Provider
	fake   *fakellm.Anthropic
	now    time.Time
	sleeps []time.Duration
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{fake: fakellm.NewAnthropic(t), now: time.Date(2026, 10, 21, 7, 0, 0, 0, time.UTC)}
	cfg := Defaults()
	cfg.BaseURL, cfg.APIKey = r.fake.URL(), config.NewSecret(key)
	for _, c := range change {
		c(&cfg)
	}
	var err error
	r.Provider, err = New(cfg, Deps{
		Now:    func() time.Time { return r.now },
		Jitter: func(d time.Duration) time.Duration { return d },
		Sleep: func(_ context.Context, d time.Duration) error {
			r.sleeps, r.now = append(r.sleeps, d), r.now.Add(d)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
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

// The server takes every kind of question, and it arrives as it was meant.
func TestRequest(t *testing.T) {
	r := newRig(t)
	r.fake.RequireKey(key)
	schema := json.RawMessage(`{"type":"object","properties":{"text":{"type":"string"}}}`)
	_, err := r.Complete(t.Context(), llm.Request{
		System: "Be brief.", Tools: []llm.ToolSpec{{Name: "recall", Description: "Finds.", Schema: schema}, {Name: "time"}},
		Messages: []llm.Message{
			{Role: llm.User, Text: "hi"},
			{Role: llm.Assistant, Text: " "}, // may not be sent
			{Role: llm.Assistant, Text: "I look.", Calls: []llm.ToolCall{{ID: "a:1", Name: "recall", Input: json.RawMessage(`{"text":"x"}`)}, {ID: "b", Name: "time"}, {ID: "c", Name: "time"}}},
			{Role: llm.User, Results: []llm.ToolResult{{CallID: "a:1", Text: "found"}, {CallID: "b", Failed: true}, {CallID: "c"}}},
			{Role: llm.Assistant, Text: "there"},
			{Role: llm.User, Text: "and this?", Images: []llm.Image{{MediaType: "image/png", Data: []byte("png")}}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"model":"claude-haiku-4-5","max_tokens":4096,"stream":true,` +
		`"tools":[{"name":"recall","description":"Finds.","input_schema":{"type":"object","properties":{"text":{"type":"string"}}}},` +
		`{"name":"time","input_schema":{"type":"object","properties":{}},"cache_control":{"type":"ephemeral"}}],` +
		`"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],"messages":[` +
		`{"role":"user","content":[{"type":"text","text":"hi"}]},` +
		`{"role":"assistant","content":[{"type":"text","text":"I look."},{"type":"tool_use","id":"a_1","name":"recall","input":{"text":"x"}},{"type":"tool_use","id":"b","name":"time","input":{}},{"type":"tool_use","id":"c","name":"time","input":{}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a_1","content":"found"},{"type":"tool_result","tool_use_id":"b","content":"The tool failed.","is_error":true},{"type":"tool_result","tool_use_id":"c","cache_control":{"type":"ephemeral"}}]},` +
		`{"role":"assistant","content":[{"type":"text","text":"there"}]},` +
		`{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"cG5n"}},{"type":"text","text":"and this?","cache_control":{"type":"ephemeral"}}]}]}`
	got := r.fake.Requests()[0]
	if string(got.Body) != want {
		t.Errorf("asked\n%s, want\n%s", got.Body, want)
	}
	if got.Header.Get("X-Api-Key") != key || got.Header.Get("Anthropic-Version") != "2023-06-01" || got.Header.Get("Authorization") != "" {
		t.Errorf("headers are %v", got.Header)
	}
}

const mark = `,"cache_control":{"type":"ephemeral"}`

// Two consecutive turns have the same bytes, but for their marks, up to where the
// first one ends; so the vendor's cache finds what the first one wrote.
func TestTurnsShareTheirBeginning(t *testing.T) {
	r := newRig(t)
	r.fake.CacheFrom(1)
	r.fake.Always(fakellm.Answer{Text: []string{"yes"}})
	req := hello
	req.Tools = []llm.ToolSpec{{Name: "recall", Schema: json.RawMessage(`{"type":"object","properties":{"b":{},"a":{}}}`)}, {Name: "time"}}
	for range 4 {
		got, err := r.Complete(t.Context(), req, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Messages = append(req.Messages, llm.Message{Role: llm.Assistant, Text: got.Text}, llm.Message{Role: llm.User, Text: "and then? " + strings.Repeat("<é>", len(req.Messages))})
	}
	asked := r.fake.Requests()
	for i := range asked[1:] {
		static, _, found := strings.Cut(string(asked[i].Body), `"messages":`)
		if !found || !strings.HasPrefix(string(asked[i+1].Body), static) {
			t.Errorf("turn %d does not begin as the one before: %s", i+1, asked[i+1].Body)
		}
		before := strings.TrimSuffix(strings.ReplaceAll(string(asked[i].Body), mark, ""), "]}")
		if after := strings.ReplaceAll(string(asked[i+1].Body), mark, ""); !strings.HasPrefix(after, before+",") {
			t.Errorf("turn %d is no continuation:\n%s\n%s", i+1, before, after)
		}
		if n := strings.Count(string(asked[i+1].Body), mark); n > 4 {
			t.Errorf("%d marks", n)
		}
	}
	bills := r.fake.Bills()
	for i, b := range bills[1:] {
		if last := bills[i].Usage; b.Usage.CacheRead != last.CacheRead+last.CacheWrite || b.Usage.CacheWrite == 0 || b.Usage.Input != 0 {
			t.Errorf("turn %d read %d of the %d and %d in the cache, and paid %d in full", i+1, b.Usage.CacheRead, last.CacheRead, last.CacheWrite, b.Usage.Input)
		}
	}
}

// Tools that are only shown stay in the prompt, so that the cache has it.
func TestNoTools(t *testing.T) {
	r := newRig(t)
	req := hello
	for _, tools := range [][]llm.ToolSpec{{{Name: "time"}}, nil} {
		for _, req.NoTools = range []bool{false, true} {
			req.Tools = tools
			if _, err := r.Complete(t.Context(), req, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, q := range r.fake.Requests() {
		if none := q.ToolChoice != nil && q.ToolChoice.Type == "none"; none != (i == 1) || len(q.Tools) != 1-i/2 {
			t.Errorf("question %d is %s", i, q.Body)
		}
	}
}

func TestNoKeyNoHeader(t *testing.T) {
	r := newRig(t, func(c *Config) { c.APIKey = config.Secret{} })
	if _, _, err := r.ask(t); err != nil {
		t.Fatal(err)
	}
	if h, there := r.fake.Requests()[0].Header["X-Api-Key"]; there {
		t.Errorf("a key's header without a key: %q", h)
	}
	r.fake.RequireKey(key)
	var e *bus.Error
	if _, _, err := r.ask(t); !errors.As(err, &e) || e.Code != bus.CodeDenied || !strings.Contains(e.Message, "wants an API key") || !strings.Contains(e.Hint, "set-secret anthropic.api_key") {
		t.Errorf("%#v", err)
	}
}

// raw is a stream of these events' data.
func raw(end fakellm.End, data ...string) fakellm.Answer {
	return fakellm.Answer{Raw: "data: " + strings.Join(data, "\n\ndata: ") + "\n\n", End: end}
}

const (
	evBegun   = `{"type":"message_start","message":{"model":"m","usage":{"input_tokens":40,"output_tokens":1}}}`
	evBlock   = `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	evHalf    = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"half an answer"}}`
	evEnded   = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}`
	evStopped = `{"type":"message_stop"}`
	evBusy    = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`
)

func TestAnswers(t *testing.T) {
	type script = []fakellm.Answer
	paid := bus.Usage{Input: 100, Output: 10}
	for name, c := range map[string]struct {
		script script
		text   string
		usage  bus.Usage
	}{
		"in pieces":                   {script{fakellm.Says("Hel", "lo ", "🙂")}, "Hello 🙂", paid},
		"cached":                      {script{{Text: []string{"x"}, Usage: &fakellm.Usage{Prompt: 1000, Cached: 700, Written: 260, Completion: 7}}}, "x", bus.Usage{Input: 40, CacheRead: 700, CacheWrite: 260, Output: 7}},
		"with thoughts":               {script{{Thinking: []string{"hm", "hm"}, Text: []string{"x"}, Usage: &fakellm.Usage{Prompt: 10, Completion: 7}}}, "x", bus.Usage{Input: 10, Output: 7}},
		"nothing counted":             {script{raw(fakellm.Whole, `{"type":"message_start"}`, evBlock, evHalf, `{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`, evStopped)}, "half an answer", bus.Usage{Input: 7, Output: 4}},
		"counted nonsense":            {script{{Text: []string{"Hello"}, Usage: &fakellm.Usage{Prompt: -5, Completion: 1 << 60}}}, "Hello", bus.Usage{Input: 7, Output: 2}},
		"no message_stop":             {script{{Text: []string{"Hello"}, End: fakellm.NoDone, Usage: &fakellm.Usage{Prompt: 3, Completion: 2}}}, "Hello", bus.Usage{Input: 3, Output: 2}},
		"broken behind its end":       {script{{Text: []string{"Hello"}, End: fakellm.CutLate, Usage: &fakellm.Usage{Prompt: 3, Completion: 2}}}, "Hello", bus.Usage{Input: 3, Output: 2}},
		"too long":                    {script{{Text: []string{"Once"}, Finish: "max_tokens", Usage: &fakellm.Usage{Prompt: 1, Completion: 1}}}, "Once" + wire.Cut, bus.Usage{Input: 1, Output: 1}},
		"the model is full":           {script{{Text: []string{"Once"}, Finish: "model_context_window_exceeded", Usage: &fakellm.Usage{Prompt: 1, Completion: 1}}}, "Once" + full, bus.Usage{Input: 1, Output: 1}},
		"after refusals":              {script{fakellm.Limited(""), fakellm.Overloaded(), fakellm.Says("yes")}, "yes", paid},
		"overloaded in the stream":    {script{raw(fakellm.Whole, evBusy), fakellm.Says("yes")}, "yes", paid},
		"overloaded behind the start": {script{raw(fakellm.Whole, evBegun, `{"type":"ping"}`, evBusy), fakellm.Says("yes")}, "yes", bus.Usage{Input: 140, Output: 11}},
		"broken before it began":      {script{raw(fakellm.Cut, evBegun), fakellm.Says("yes")}, "yes", bus.Usage{Input: 140, Output: 11}},
		"what is not known":           {script{raw(fakellm.Whole, evBegun, `{"type":"news"}`, evBlock, `{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{}}}`, evHalf, `{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","input":{}}}`, `{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}`, evEnded, evStopped)}, "half an answer", bus.Usage{Input: 40, Output: 5}},
		"by the events' names":        {script{{Raw: "event: message_start\r\ndata: {\"message\":{\"usage\":{\"input_tokens\":9}}}\r\n\r\nevent: content_block_start\r\ndata:{\"content_block\":{\"type\":\"text\",\"text\":\"hi\"}}\r\n\r\nevent: message_delta\r\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":1}}\r\n\r\nevent: message_stop\r\ndata: {}\r\n\r\n"}}, "hi", bus.Usage{Input: 9, Output: 1}},
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
	for name, c := range map[string]struct {
		answer fakellm.Answer
		want   string
	}{
		"two, in pieces": {fakellm.Uses(fakellm.Call{Name: "recall", Arguments: `{"query":"the boiler, ü"}`}, fakellm.Call{Name: "time", Arguments: `{}`}),
			`[{"id":"toolu_1a","name":"recall","input":{"query":"the boiler, ü"}},{"id":"toolu_1b","name":"time","input":{}}]`},
		"no arguments":  {fakellm.Uses(fakellm.Call{Name: "time"}), `[{"id":"toolu_1a","name":"time","input":{}}]`},
		"garbled":       {fakellm.Uses(fakellm.Call{Name: "time", Arguments: `{"a":`}), `[{"id":"toolu_1a","name":"time","input":{"not_a_json_object":"{\"a\":"}}]`},
		"not streamed":  {raw(fakellm.Whole, evBegun, `{"type":"content_block_start","content_block":{"type":"tool_use","id":"x","name":"a","input":{"n":1}}}`, evEnded, evStopped), `[{"id":"x","name":"a","input":{"n":1}}]`},
		"without an id": {raw(fakellm.Whole, evBegun, `{"type":"content_block_start","content_block":{"type":"tool_use","name":"a"}}`, evEnded, evStopped), `[{"id":"call_1","name":"a","input":{}}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fake.Script(c.answer)
			got, _, err := r.ask(t)
			calls, failed := json.Marshal(got.Calls)
			if err != nil || failed != nil || string(calls) != c.want || got.Text != "" {
				t.Errorf("%s, %v", calls, err)
			}
		})
	}
}

// What the model asked for and the tools said goes back as the vendor wants it.
func TestToolRound(t *testing.T) {
	r := newRig(t)
	r.fake.Script(fakellm.Uses(fakellm.Call{Name: "recall", Arguments: `{"query":"boiler"}`}), fakellm.Says("4711"))
	req := hello
	req.Tools = []llm.ToolSpec{{Name: "recall"}}
	first, err := r.Complete(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Messages = append(req.Messages, llm.Message{Role: llm.Assistant, Calls: first.Calls},
		llm.Message{Role: llm.User, Results: []llm.ToolResult{{CallID: first.Calls[0].ID, Text: "the code is 4711"}}})
	if second, err := r.Complete(t.Context(), req, nil); err != nil || second.Text != "4711" {
		t.Errorf("%+v, %v", second, err)
	}
}

// Whatever goes wrong has a code, words for a person, and neither the key nor an
// answer.
func TestFailures(t *testing.T) {
	fails := fakellm.Fails
	for name, c := range map[string]struct {
		answer fakellm.Answer
		code   bus.Code
		says   string // in the message
		hint   string
		tries  int
	}{
		"wrong key":            {fails(401, "", "invalid x-api-key "+key), bus.CodeDenied, "does not accept the API key (HTTP 401)", "anthropic.api_key", 1},
		"forbidden":            {fails(403, "", "no"), bus.CodeDenied, "HTTP 403", "anthropic.api_key", 1},
		"no credit":            {fails(402, "", "pay"), bus.CodeDenied, "no credit", "add credit", 1},
		"no credit, as it was": {fails(400, "", "Your credit balance is too low to access the Anthropic API."), bus.CodeDenied, "no credit", "add credit", 1},
		"no model":             {fails(404, "", "model: m"), bus.CodeInvalid, "has no model m", "agent.model", 1},
		"no endpoint":          {fakellm.Answer{Status: 404, Raw: "404 page not found"}, bus.CodeInvalid, "no Anthropic Messages at", "anthropic.base_url", 1},
		"too long":             {fails(400, "", "prompt is too long: 208310 tokens > 200000 maximum"), bus.CodeInvalid, "too long", "/new", 1},
		"too long with reply":  {fails(400, "", "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000"), bus.CodeInvalid, "too long", "/new", 1},
		"too large":            {fails(413, "", "Request exceeds the maximum size"), bus.CodeInvalid, "too long", "/new", 1},
		"full, nothing said":   {fakellm.Answer{Finish: "model_context_window_exceeded"}, bus.CodeInvalid, "too long", "/new", 1},
		"bad request":          {fails(400, "", "max_tokens: no.\nkey "+key+" "+strings.Repeat("x", 999)), bus.CodeInvalid, "HTTP 400): max_tokens: no. key [redacted] xxx", "agent.model", 1},
		"bad request, page":    {fakellm.Answer{Status: 400, Raw: "<html>" + key}, bus.CodeInvalid, "does not take the question (HTTP 400)", "anthropic.base_url", 1},
		"limited":              {fakellm.Limited(""), bus.CodeUnavailable, "slow down", "", wire.MaxTries},
		"overloaded":           {fakellm.Overloaded(), bus.CodeUnavailable, "is overloaded and cannot answer now (HTTP 529)", "", wire.MaxTries},
		"down":                 {fails(500, "", "boom "+key), bus.CodeUnavailable, "cannot answer now (HTTP 500)", "", wire.MaxTries},
		"timed out":            {fails(504, "", "late"), bus.CodeUnavailable, "cannot answer now (HTTP 504)", "", wire.MaxTries},
		"elsewhere":            {fakellm.Answer{Status: 307, Header: http.Header{"Location": {"https://example.com/" + key}}, Raw: "."}, bus.CodeInvalid, "pointed elsewhere: redirect to example.com", "anthropic.base_url", 1},
		"error as the answer":  {fakellm.Answer{Raw: `{"type":"error","error":{"type":"authentication_error","message":"no"}}`, Type: "application/json"}, bus.CodeDenied, "does not accept", "anthropic.api_key", 1},
		"overloaded at once":   {raw(fakellm.Whole, evBusy), bus.CodeUnavailable, "is overloaded", "", wire.MaxTries},
		"overloaded half-way":  {fakellm.Answer{Text: []string{"half"}, Code: "overloaded_error", Error: "boom " + key}, bus.CodeUnavailable, "is overloaded", "", 1},
		"limited half-way":     {fakellm.Answer{Text: []string{"half"}, Code: "rate_limit_error", Error: "slow"}, bus.CodeUnavailable, "slow down", "", 1},
		"an error of no kind":  {raw(fakellm.Whole, evBegun, evBlock, `{"type":"error"}`), bus.CodeUnavailable, "cannot answer now", "", 1},
		"cut off":              {fakellm.Answer{Text: []string{"half an ans"}, End: fakellm.Cut}, bus.CodeUnavailable, "broke off", "", 1},
		"cut off in thought":   {fakellm.Answer{Thinking: []string{"hm"}, End: fakellm.Cut}, bus.CodeUnavailable, "broke off", "", 1},
		"cut within its call":  {fakellm.Answer{Calls: []fakellm.Call{{Name: "pay", Arguments: `{"amount":1}`}}, End: fakellm.Cut}, bus.CodeUnavailable, "broke off", "", 1},
		"ended in good order":  {raw(fakellm.Whole, evBegun, evBlock, evHalf), bus.CodeUnavailable, "broke off", "", 1},
		"stop without reason":  {raw(fakellm.Whole, evBegun, evBlock, evHalf, evStopped), bus.CodeUnavailable, "broke off", "", 1},
		"nothing":              {fakellm.Answer{Raw: "\n"}, bus.CodeUnavailable, "broke off", "", wire.MaxTries},
		"refused":              {fakellm.Answer{Text: []string{"well"}, Refusal: "I can't help\nwith that."}, bus.CodeInvalid, "the model refused: I can't help with that.", "another model", 1},
		"refused, no reason":   {fakellm.Answer{Finish: "refusal"}, bus.CodeInvalid, "the model refused", "another model", 1},
		"paused":               {fakellm.Answer{Text: []string{"well"}, Finish: "pause_turn"}, bus.CodeInternal, "paused", "", 1},
		"call cut by length":   {fakellm.Answer{Calls: []fakellm.Call{{Name: "pay"}}, Finish: "max_tokens"}, bus.CodeInvalid, "cut off within a tool call", "agent.max_reply_tokens", 1},
		"only thought":         {fakellm.Answer{Thinking: []string{"hm"}, Finish: "max_tokens"}, bus.CodeInvalid, "thinking", "agent.max_reply_tokens", 1},
		"empty":                {fakellm.Answer{}, bus.CodeUnavailable, "empty answer", "", 1},
		"blank":                {fakellm.Answer{Text: []string{"\n"}}, bus.CodeUnavailable, "empty answer", "", 1},
		"a call of nothing":    {fakellm.Uses(fakellm.Call{}), bus.CodeInternal, "without naming it", "", 1},
		"garbage":              {raw(fakellm.Whole, key), bus.CodeInternal, "does not answer as Anthropic Messages do", "anthropic.base_url", 1},
		"wrong types":          {raw(fakellm.Whole, `{"type":7}`), bus.CodeInternal, "not the JSON", "anthropic.base_url", 1},
		"no such block":        {raw(fakellm.Whole, evBegun, evHalf), bus.CodeInternal, "has not begun", "anthropic.base_url", 1},
		"a page":               {fakellm.Answer{Raw: "<html><body>Welcome " + key + "</body></html>", Type: "text/html"}, bus.CodeInternal, "did not stream", "anthropic.base_url", 1},
		"an endless line":      {fakellm.Answer{Raw: "data: " + strings.Repeat("x", wire.MaxFrame+1)}, bus.CodeInternal, "longer than", "anthropic.base_url", 1},
		"an endless answer":    {fakellm.Says(strings.Repeat("x", wire.MaxAnswer/2), strings.Repeat("x", wire.MaxAnswer/2), "x"), bus.CodeInternal, "over 1048576 bytes", "", 1},
		"endless thoughts":     {fakellm.Answer{Thinking: []string{strings.Repeat("x", wire.MaxAnswer/2), strings.Repeat("x", wire.MaxAnswer/2), "x"}}, bus.CodeInternal, "over 1048576 bytes", "", 1},
		"endless calls":        {fakellm.Uses(make([]fakellm.Call, wire.MaxCalls+1)...), bus.CodeInternal, "32 tool calls", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fake.Always(c.answer)
			got, _, err := r.ask(t)
			fakellm.Failure{Code: c.code, Says: c.says, Hint: c.hint, Tries: c.tries}.Check(t, key, got, err, len(r.fake.Requests()))
		})
	}
}

// The server's own pause is waited for, and told when there is no time for it.
func TestPauses(t *testing.T) {
	r := newRig(t)
	r.fake.Always(fakellm.Limited("7"))
	_, _, err := r.ask(t)
	var e *bus.Error
	if !errors.As(err, &e) || e.RetryAfter != 7*time.Second || len(r.sleeps) != 2 || r.sleeps[0] != 7*time.Second {
		t.Errorf("slept %v, %#v", r.sleeps, err)
	}
}

func TestSilence(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Timeout = 300 * time.Millisecond })
	r.fake.Always(fakellm.Answer{Text: []string{"half"}, End: fakellm.Stall})
	got, _, err := r.ask(t)
	var e *bus.Error
	if !errors.As(err, &e) || e.Code != bus.CodeUnavailable || !strings.Contains(e.Message, "fell silent for 300ms") || e.Hint != "anthropic.timeout sets how long to wait" {
		t.Errorf("%#v", err)
	}
	if got.Usage.Input == 0 || len(r.fake.Requests()) != 1 {
		t.Errorf("paid %+v, asked %d times", got.Usage, len(r.fake.Requests()))
	}
}

func TestContextEnds(t *testing.T) {
	r := newRig(t)
	r.fake.Script(raw(fakellm.Stall, evBegun, evBlock, evHalf))
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := r.Complete(ctx, hello, func(string) { cancel() })
	if !errors.Is(err, context.Canceled) || resp.Text != "" || resp.Usage != (bus.Usage{Input: 40, Output: 4}) {
		t.Errorf("%+v, %v", resp, err)
	}
}

// What is reported is what was billed, to the token, also with a cache; and of a
// broken answer not less.
func TestUsageIsTheBill(t *testing.T) {
	r := newRig(t)
	r.fake.CacheFrom(1)
	r.fake.Script(fakellm.Answer{Text: []string{"one"}}, fakellm.Answer{Text: []string{"two"}}, fakellm.Answer{Text: []string{"three"}, End: fakellm.Cut})
	for i := range 3 {
		got, _, _ := r.ask(t)
		b := r.fake.Bills()[i]
		if got.Usage != b.Usage || b.Whole != (i < 2) {
			t.Errorf("answer %d: reported %+v, billed %+v", i, got.Usage, b)
		}
	}
}

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
