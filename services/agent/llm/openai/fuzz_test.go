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
	f.Fuzz(func(t *testing.T, stream []byte) {
		var streamed strings.Builder
		a := &answer{accepted: true, asked: 10, delta: func(s string) { streamed.WriteString(s) }}
		err := a.read(strings.NewReader(string(stream)))
		if streamed.String() != a.text.String() {
			t.Errorf("streamed %q, holds %q", streamed.String(), a.text.String())
		}
		if err == nil && a.finish == "" {
			t.Error("whole without a finish")
		}
		var inside streamError
		if err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &inside) {
			t.Errorf("an error of no kind: %v", err)
		}
		u := a.usage()
		if u.Input < 0 || u.Output < 0 || u.CacheRead < 0 || u.Input > maxTokens || u.Output > maxTokens || u.CacheRead > maxTokens {
			t.Errorf("usage %+v", u)
		}
		for _, c := range a.response("m", u).Calls {
			var object map[string]any
			if json.Unmarshal(c.Input, &object) != nil || object == nil || c.ID == "" {
				t.Errorf("call %+v", c)
			}
		}
		b := &answer{accepted: true, asked: 10}
		again := b.read(iotest.OneByteReader(strings.NewReader(string(stream))))
		if (err == nil) != (again == nil) || a.text.String() != b.text.String() {
			t.Errorf("byte by byte: %q, %v; at once: %q, %v", b.text.String(), again, a.text.String(), err)
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
		if !errors.As(p.explain(status, readError(body), "m"), &e) || e.Code == "" || e.Message == "" || strings.ContainsAny(e.Message, "\r\n") || len(e.Message) > 4*maxQuote+200 {
			t.Errorf("%#v", e)
		}
	})
}
