// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestKeys(t *testing.T) {
	text := func(s string) key { return key{stroke: strokeText, text: s} }
	for _, c := range []struct {
		name, in string
		want     []key
	}{
		{"text", "abc", []key{text("abc")}},
		{"wide text", "日本é👍", []key{text("日本é👍")}},
		{"enter", "a\rb\n", []key{text("a"), {stroke: strokeEnter}, text("b"), {stroke: strokeEnter}}},
		{"arrows", "\x1b[A\x1bOB\x1b[C\x1b[D", []key{{stroke: strokeUp}, {stroke: strokeDown}, {stroke: strokeRight}, {stroke: strokeLeft}}},
		{"words", "\x1b[1;5D\x1bf\x17", []key{{stroke: strokeWordLeft}, {stroke: strokeWordRight}, {stroke: strokeKillWord}}},
		{"home and delete", "\x1b[1~\x1b[3~\x7f", []key{{stroke: strokeHome}, {stroke: strokeDelete}, {stroke: strokeBack}}},
		{"controls", "\x03\x04\t\x0c", []key{{stroke: strokeInterrupt}, {stroke: strokeEOF}, {stroke: strokeTab}, {stroke: strokeClear}}},
		{"Alt-Enter", "\x1b\r", []key{{stroke: strokeBreak}}},
		{"a key without a meaning", "\x1b[15~a\x1b[200z", []key{text("a")}},
		{"escape twice", "\x1b\x1b[A", []key{{stroke: strokeUp}}},
		{"a sequence cut off by a key", "\x1b[1\x03", []key{{stroke: strokeInterrupt}}},
		{"not UTF-8", "a\xffb", []key{text("ab")}},
		{"turned around", "a\u202eb", []key{text("ab")}},
		{"paste", "x\x1b[200~one\r\ntwo\rthree\nfour\x1b[201~y",
			[]key{text("x"), {stroke: strokePaste, text: "one\ntwo\nthree\nfour"}, text("y")}},
		{"a paste that fights back", "\x1b[200~a\x1b[2Jb\x03\x04\x1b[201~", []key{{stroke: strokePaste, text: "a[2Jb"}}},
		{"an empty paste", "\x1b[200~\x1b[201~", []key{{stroke: strokePaste}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := new(keyReader).read([]byte(c.in)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			var byByte keyReader // as a slow line delivers it
			var got []key
			for i := range len(c.in) {
				for _, k := range byByte.read([]byte{c.in[i]}) {
					got = appendKey(got, k)
				}
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("byte by byte: got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestLoneEscape: the key that is called Escape swallows nothing that comes after it.
func TestLoneEscape(t *testing.T) {
	var r keyReader
	if got := r.read([]byte("\x1b")); got != nil {
		t.Errorf("got %+v", got)
	}
	r.idle()
	if got := r.read([]byte("hello")); len(got) != 1 || got[0].text != "hello" {
		t.Errorf("got %+v", got)
	}
}

// TestHugePaste: what is too long is cut, and read to its end.
func TestHugePaste(t *testing.T) {
	var r keyReader
	r.read([]byte("\x1b[200~"))
	chunk := []byte(strings.Repeat("x", 4096))
	for range maxInput/len(chunk) + 10 {
		r.read(chunk)
	}
	got := r.read([]byte("\x1b[201~a"))
	if len(got) != 2 || len(got[0].text) != maxInput || !got[0].cut || got[1].text != "a" {
		t.Errorf("%d keys", len(got))
	}
}

func FuzzKeys(f *testing.F) {
	f.Add("a\x1b[A\x1b[200~x\r\n\x1b[201~\xff日\x1b", 3)
	f.Fuzz(func(t *testing.T, in string, cut int) {
		if cut < 0 || cut > len(in) {
			cut = len(in)
		}
		var r keyReader
		for _, part := range []string{in[:cut], in[cut:]} {
			for _, k := range r.read([]byte(part)) {
				if !utf8.ValidString(k.text) || strings.ContainsAny(k.text, "\x1b\x03\r\u009b") || k.stroke == strokeText && k.text == "" {
					t.Errorf("%q has key %+v", in, k)
				}
			}
			if len(r.rest) > maxSequence {
				t.Errorf("%q leaves %d bytes", in, len(r.rest))
			}
		}
	})
}
