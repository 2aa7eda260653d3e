// SPDX-License-Identifier: MIT OR Apache-2.0

package hub

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/nats-io/nats.go"
)

// What comes from outside is read without harm, whatever it is.
func FuzzFromOutside(f *testing.F) {
	for _, seed := range []string{
		`{"stream":"BLUFIO","seq":1,"domain":"hub","duplicate":true}`, `{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`,
		`{"node":"a","id":"b","state":"healthy","version":"1","rss_bytes":1}`, `{"stream":"a.b","seq":1}`, `{"stream":"*","seq":1}`, `{}`, `null`, ``, `[`, "\x00",
	} {
		f.Add([]byte(seed), "503", "busy", "x\ny")
	}
	f.Fuzz(func(t *testing.T, data []byte, status, code, text string) {
		a := readAck(&nats.Msg{Data: data})
		if a.err == nil && (!word(a.stream) || a.domain != "" && !word(a.domain)) {
			t.Errorf("stream %q in %q", a.stream, a.domain)
		}
		_ = readAck(&nats.Msg{Header: nats.Header{"Status": {status}}, Data: data})
		if g, ok := readGreeting(data); ok && !bus.ValidToken(g.Node) {
			t.Errorf("greeting %+v", g)
		}
		if r, ok := readRow(data); ok && (!bus.ValidToken(r.Node) || strings.ContainsAny(r.Version+r.ID, "\x1b\n\r")) {
			t.Errorf("row %+v", r)
		}
		m := bus.ReplyMsg("", data, nil)
		if code != "" {
			m.Header = nats.Header{"Nats-Service-Error-Code": {code}, "Nats-Service-Error": {text}}
		}
		answer := answerOf(m)
		if _, err := json.Marshal(answer); err != nil {
			t.Errorf("%+v: %v", answer, err)
		}
		if e := answer.Error; e != nil && strings.ContainsAny(e.Message+e.Hint, "\x1b\n\r") {
			t.Errorf("%+v", e)
		}
	})
}
