// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

// Whatever a server streams: no panic, nothing over its bound, an answer only
// when it was finished, tool input that is always an object, and the same
// however the bytes come in pieces.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{
		"",
		"data: [DONE]\n\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n",
		"data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"n\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\ndata: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
		": c\r\ndata: {\"error\":{\"message\":\"m\",\"code\":429}}\r\n\r\n",
		"data: {\ndata: \"choices\":null}\r\rdata: {}\n\n",
		"data: {\"choices\":[{\"finish_reason\":\"length\",\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":-1}}\n\n",
	} {
		f.Add([]byte(seed))
	}
	p, err := New(Defaults(), Deps{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var streamed strings.Builder
		a := p.answer(hello, func(s string) { streamed.WriteString(s) })
		a.Accepted = true
		err := a.Read(strings.NewReader(string(stream)))
		if streamed.String() != a.Text() {
			t.Errorf("streamed %q, holds %q", streamed.String(), a.Text())
		}
		if err == nil && a.finish == "" {
			t.Error("whole without a finish")
		}
		var inside *bus.Error
		if err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &inside) {
			t.Errorf("an error of no kind: %v", err)
		}
		u := a.Usage()
		if u.Input < 0 || u.Output < 0 || u.CacheRead < 0 || u.Input > wire.MaxTokens || u.Output > wire.MaxTokens || u.CacheRead > wire.MaxTokens {
			t.Errorf("usage %+v", u)
		}
		for _, c := range a.Response("m", u).Calls {
			var object map[string]any
			if json.Unmarshal(c.Input, &object) != nil || object == nil || c.ID == "" {
				t.Errorf("call %+v", c)
			}
		}
		b := p.answer(hello, nil)
		again := b.Read(iotest.OneByteReader(strings.NewReader(string(stream))))
		if (err == nil) != (again == nil) || a.Text() != b.Text() {
			t.Errorf("byte by byte: %q, %v; at once: %q, %v", b.Text(), again, a.Text(), err)
		}
	})
}

// Errors of servers: no panic, always a code, one line, no key.
func FuzzError(f *testing.F) {
	for _, seed := range []string{`{"error":{"message":"m","code":"x"}}`, `{"error":"m"}`, `{"detail":[{}]}`, `{"message":"m"}`, `<html>`, `{"error":{"code":400}}`} {
		f.Add(400, []byte(seed))
		f.Add(0, []byte(seed))
	}
	p, err := New(Config{BaseURL: DefaultURL}, Deps{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		var e *bus.Error
		if err := p.explain(status, readError(body), "m"); !errors.As(err, &e) || e.Code == "" || e.Message == "" || strings.ContainsAny(e.Message, "\r\n") || len(e.Message) > 4*wire.MaxQuote+200 {
			t.Errorf("%#v", e)
		}
	})
}
