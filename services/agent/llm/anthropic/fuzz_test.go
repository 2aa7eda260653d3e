// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

// Whatever a server streams: no panic, nothing over its bound, an answer only
// when the model said why it stopped, tool input that is always an object, counts
// that the ledger takes, and the same however the bytes come in pieces.
func FuzzStream(f *testing.F) {
	files, err := filepath.Glob("testdata/*.sse")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)*2/3])
	}
	f.Add([]byte("event: message_stop\ndata: {}\n\n"))
	f.Add([]byte("data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":-1,\"cache_read_input_tokens\":99999999999}}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"}}\n\n"))
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
		if err == nil && a.stop == "" {
			t.Error("whole without a reason to stop")
		}
		var inside *bus.Error
		if err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &inside) {
			t.Errorf("an error of no kind: %v", err)
		}
		u := a.Usage()
		for _, n := range []int64{u.Input, u.Output, u.CacheRead, u.CacheWrite} {
			if n < 0 || n > wire.MaxTokens {
				t.Errorf("usage %+v", u)
			}
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

// Errors of servers: no panic, always a code, one line.
func FuzzError(f *testing.F) {
	for _, seed := range []string{`{"type":"error","error":{"type":"not_found_error","message":"model: m"}}`, `{"error":"m"}`, `<html>`, `{"error":{"type":7}}`, `{"error":{"type":"invalid_request_error","message":"prompt is too long"}}`} {
		f.Add(400, []byte(seed))
		f.Add(0, []byte(seed))
	}
	p, err := New(Defaults(), Deps{})
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
