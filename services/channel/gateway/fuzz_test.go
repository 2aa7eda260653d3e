// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
)

// What is accepted means the same to the standard decoder; what is refused is a
// 400 that can be printed.
func FuzzDecodeMessage(f *testing.F) {
	for _, seed := range []string{`{"session":"a","text":"x"}`, `{"text":"\ud800"}`, `{}`, `[`, `{"text":"x"}x`, "{\"text\":\"\xff\"}", `{"text":{"a":[]}}`, "", `{"\u0074ext":"x"}`, "{\n\n\"b\":1}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var m bus.Message
		err := decodeMessage(data, &m)
		if err != nil {
			var e *refusal
			if !errors.As(err, &e) || e.status != 400 || !utf8.ValidString(e.message) {
				t.Fatalf("got %#v", err)
			}
			return
		}
		var std struct{ Session, Text string }
		if err := json.Unmarshal(data, &std); err != nil || std.Text != m.Text || std.Session != m.Session {
			t.Fatalf("%q: decoded %+v, the standard library %+v, %v", data, m, std, err)
		}
		if m.Text == "" || !utf8.ValidString(m.Text) || !utf8.ValidString(m.Session) {
			t.Fatalf("accepted %+v", m)
		}
	})
}

// No token gets in but the one that was made.
func FuzzToken(f *testing.F) {
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	tk, err := newMint(func() ed25519.PrivateKey { return key }, now)
	if err != nil {
		f.Fatal(err)
	}
	good, err := tk.sign(&pass{id: "a", subject: "me", signer: tk.public(), issued: now(), expires: now().Add(time.Hour)}) // the same in every worker
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, good + "=", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFZERTQSJ9.e30.AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := tk.verify(token)
		if (err == nil) != (token == good) {
			t.Fatalf("%q: %+v, %v", token, id, err)
		}
	})
}

// A request that is accepted has a question; one that is not is a 4xx that can
// be printed.
func FuzzPrompt(f *testing.F) {
	for _, seed := range []string{hello, helloStream, `{"messages":[{"role":"system","content":"a"},{"role":"user","content":[{"type":"text","text":"b"}]}]}`,
		`{"messages":[{"role":"user","content":null}]}`, `null`, `{"n":2}`, `{"messages":7}`, "{\"user\":\"\xff\"}", `[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodePrompt(data)
		if err != nil {
			var e *refusal
			if !errors.As(err, &e) || e.status < 400 || e.status > 499 || !utf8.ValidString(e.message) {
				t.Fatalf("got %#v", err)
			}
			return
		}
		if q := p.question(); q == "" || !utf8.ValidString(q) || !strings.HasSuffix(p.transcript(), q) {
			t.Fatalf("%q: accepted %+v", data, p)
		}
	})
}

// A frame that is accepted is a ping, or a message with an id and a text.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{`{"type":"message","id":"a","text":"x","session":"s","key":"k"}`, `{"type":"ping"}`, `{}`, `[]`, `{"id":{}}`, "\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeFrame(data)
		if err != nil {
			var e *refusal
			if !errors.As(err, &e) || e.status != 400 || !utf8.ValidString(e.message) || !utf8.ValidString(c.ID) {
				t.Fatalf("got %#v", err)
			}
		} else if c.Type != framePing && (c.Type != frameMessage || c.ID == "" || c.Text == "") {
			t.Fatalf("accepted %+v", c)
		}
	})
}
