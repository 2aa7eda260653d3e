// SPDX-License-Identifier: MIT OR Apache-2.0

package fakellm

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

// ask puts a body to the fake and returns the status and the answer.
func ask(t *testing.T, url, body, version string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Anthropic-Version", version)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// What the vendor refuses is refused, so that a test sees a provider's mistake.
func TestAnthropicRefuses(t *testing.T) {
	const (
		mark = `"cache_control":{"type":"ephemeral"}`
		hi   = `{"role":"user","content":[{"type":"text","text":"hi"}]}`
		call = `{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"n","input":{}}]}`
		done = `{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"x"}]}`
	)
	body := func(more string, messages ...string) string {
		return `{"model":"m","max_tokens":9,"stream":true,` + more + `"messages":[` + strings.Join(messages, ",") + `]}`
	}
	marked := `"system":[` + strings.Repeat(`{"type":"text","text":"s",`+mark+`},`, 4) + `{"type":"text","text":"s"}],`
	for name, c := range map[string]struct{ body, version, says string }{
		"fine":                   {body("", hi), "2023-06-01", ""},
		"fine, with a call":      {body("", hi, call, done), "2023-06-01", ""},
		"fine, four marks":       {body(marked, hi), "2023-06-01", ""},
		"five marks":             {body(marked, `{"role":"user","content":[{"type":"text","text":"hi",`+mark+`}]}`), "2023-06-01", "A maximum of 4 blocks"},
		"no version":             {body("", hi), "", "anthropic-version"},
		"another version":        {body("", hi), "2042-01-01", "anthropic-version"},
		"unknown field":          {body(`"n":1,`, hi), "2023-06-01", "unknown field"},
		"unknown in a block":     {body("", `{"role":"user","content":[{"type":"text","text":"hi","x":1}]}`), "2023-06-01", "unknown field"},
		"no max_tokens":          {`{"model":"m","messages":[` + hi + `]}`, "2023-06-01", "max_tokens: Field required"},
		"no model":               {`{"max_tokens":9,"messages":[` + hi + `]}`, "2023-06-01", "model: Field required"},
		"no messages":            {body(""), "2023-06-01", "at least one message"},
		"assistant first":        {body("", `{"role":"assistant","content":[{"type":"text","text":"x"}]}`, hi), "2023-06-01", "the first"},
		"result of nothing":      {body("", hi, done), "2023-06-01", "unexpected `tool_use_id`"},
		"call without result":    {body("", hi, call, hi), "2023-06-01", "without `tool_result`"},
		"result too late":        {body("", hi, call, hi, done), "2023-06-01", "without `tool_result`"},
		"result twice":           {body("", hi, call, done, done), "2023-06-01", "unexpected `tool_use_id`"},
		"result behind text":     {body("", hi, call, `{"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"a","content":"x"}]}`), "2023-06-01", "unexpected `tool_use_id`"},
		"an id twice":            {body("", hi, call, done, call, done), "2023-06-01", "must be unique"},
		"failed, saying nothing": {body("", hi, call, `{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":true}]}`), "2023-06-01", "content cannot be empty"},
		"blank text":             {body("", `{"role":"user","content":[{"type":"text","text":" "}]}`), "2023-06-01", "non-whitespace"},
		"no content":             {body("", `{"role":"user","content":[]}`), "2023-06-01", "non-empty"},
		"a picture of nothing":   {body("", `{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"text/plain","data":"eA=="}}]}`), "2023-06-01", "invalid source"},
		"a tool without schema":  {body(`"tools":[{"name":"n"}],`, hi), "2023-06-01", "tools.0"},
	} {
		t.Run(name, func(t *testing.T) {
			a := NewAnthropic(t)
			status, got := ask(t, a.URL()+"/v1/messages", c.body, c.version)
			if (status == http.StatusOK) != (c.says == "") || c.says != "" && (!strings.Contains(got, c.says) || !strings.Contains(got, "invalid_request_error")) {
				t.Errorf("%d %s", status, got)
			}
			if n := len(a.Bills()); (n == 1) != (c.says == "") {
				t.Errorf("%d bills", n)
			}
		})
	}
}

// The cache finds the longest known beginning of a prompt, of the same model only,
// and no prompt that is too short.
func TestCache(t *testing.T) {
	p := func(names ...string) []piece {
		var out []piece
		for _, n := range names {
			name, marked := strings.CutSuffix(n, "*")
			out = append(out, newPiece(name, strings.Repeat(name, 400), marked)) // 103 tokens
		}
		return out
	}
	one := p("a")[0]
	size := int64(len(one.data)+3) / 4
	c := newCache()
	c.least = size + 1
	for i, step := range []struct {
		model string
		ask   []piece
		want  counted // in pieces
	}{
		{"m", p("a", "b", "c*"), counted{3, 0, 3}},
		{"m", p("a", "b", "c", "d*"), counted{4, 3, 1}},
		{"m", p("a", "b", "c*", "x", "y*"), counted{5, 3, 2}},
		{"m", p("a", "b", "c", "d"), counted{4, 0, 0}}, // not marked
		{"m", p("a", "x", "c*"), counted{3, 0, 3}},
		{"other", p("a", "b", "c*"), counted{3, 0, 3}},
		{"m", p("z*"), counted{1, 0, 0}},
		{"m", p("z*"), counted{1, 0, 0}},
	} {
		if got := c.meter(step.model, step.ask); got != (counted{step.want.total * size, step.want.read * size, step.want.written * size}) {
			t.Errorf("step %d: %+v, a piece is %d", i, got, size)
		}
	}
}

// OpenAI caches by itself, and a broken answer is billed as far as it came.
func TestOpenAIBills(t *testing.T) {
	o := NewOpenAI(t)
	o.Always(Answer{Text: []string{"four"}, Metered: true})
	o.Script(Answer{Text: []string{"unbilled"}})
	body := fmt.Sprintf(`{"model":"m","stream":true,"messages":[{"role":"user","content":"%s"}]}`, strings.Repeat("x", 8000))
	for range 3 {
		if status, got := ask(t, o.URL()+"/chat/completions", body, ""); status != http.StatusOK {
			t.Fatal(got)
		}
	}
	bills := o.Bills()
	if len(bills) != 2 || bills[0].Usage.CacheRead != 0 || bills[1].Usage.CacheRead != 1920 || bills[0].Usage.Input != bills[1].Usage.Input+1920 || bills[1].Usage.Output != 1 || !bills[1].Whole {
		t.Errorf("%+v", bills)
	}
	v := newVendor(nil)
	v.bill("m", Answer{Text: []string{"half"}, Error: "boom", Usage: &Usage{Prompt: 9, Completion: 100}}.count(counted{}), counted{})
	if got := v.Bills()[0]; got != (Bill{Model: "m", Usage: bus.Usage{Input: 9, Output: 1}}) {
		t.Errorf("%+v", got)
	}
}

// What a prompt is and how much of it was asked before is counted whatever the
// script says, and a long run is not kept in memory.
func TestPromptsAreCounted(t *testing.T) {
	o := NewOpenAI(t)
	o.CacheFrom(1)
	o.Keep(2)
	o.Always(Says("ok"))
	const tools, system, first = `[{"type":"function","function":{"name":"t"}}]`, `{"role":"system","content":"s"}`, `{"role":"user","content":"one"}`
	body := func(messages string) string {
		return `{"model":"m","stream":true,"tools":` + tools + `,"messages":[` + messages + `]}`
	}
	for _, messages := range []string{system + "," + first, system + "," + first, system} {
		if status, got := ask(t, o.URL()+"/chat/completions", body(messages), ""); status != http.StatusOK {
			t.Fatal(got)
		}
	}
	asked, bills := o.Requests(), o.Bills()
	if len(asked) != 2 || len(bills) != 2 {
		t.Fatalf("%d requests and %d bills are kept", len(asked), len(bills))
	}
	if got, want := asked[1].PromptTokens(), int64(len(tools)+len(system)+2+3)/4; got != want { // with the brackets
		t.Errorf("the last prompt has %d tokens, want %d", got, want)
	}
	for _, b := range bills {
		if b.Prompt == 0 || b.Seen != b.Prompt || b.Usage.Input != 100 {
			t.Errorf("%+v", b)
		}
	}
	half := append(bills, Bill{Prompt: bills[0].Prompt + bills[1].Prompt})
	if share := SeenShare(half); share != 0.5 || SeenShare(nil) != 0 {
		t.Errorf("%v was seen", share)
	}
}
