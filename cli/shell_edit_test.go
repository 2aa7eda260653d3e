// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"strings"
	"testing"
)

// edited shows the text with the cursor as a bar.
func edited(e *editor) string { return e.text[:e.at] + "|" + e.text[e.at:] }

func TestEdit(t *testing.T) {
	const family = "👨\u200d👩\u200d👧"
	for _, c := range []struct {
		name, start string
		strokes     []stroke
		want        string
	}{
		{"left over a family", "a" + family + "|", []stroke{strokeLeft}, "a|" + family},
		{"right over an accent", "|e\u0301x", []stroke{strokeRight}, "e\u0301|x"},
		{"back over a flag", "🇩🇪🇫🇷|", []stroke{strokeBack}, "🇩🇪|"},
		{"back at the start", "|a", []stroke{strokeBack, strokeLeft}, "|a"},
		{"delete at the end", "a|", []stroke{strokeDelete, strokeRight}, "a|"},
		{"Ctrl-D deletes", "|ab", []stroke{strokeEOF}, "|b"},
		{"left over a line", "a\n|b", []stroke{strokeLeft}, "a|\nb"},
		{"back over a line", "a\n|b", []stroke{strokeBack}, "a|b"},
		{"words left", "one two  three|", []stroke{strokeWordLeft, strokeWordLeft}, "one |two  three"},
		{"words right", "|one two\nthree", []stroke{strokeWordRight, strokeWordRight}, "one two|\nthree"},
		{"words right at the end", "one| ", []stroke{strokeWordRight}, "one |"},
		{"kill a word", "one two |three", []stroke{strokeKillWord}, "one |three"},
		{"kill to the start", "a\nbc|d", []stroke{strokeKillStart}, "a\n|d"},
		{"kill to the end", "a|b\nc", []stroke{strokeKillEnd}, "a|\nc"},
		{"home and end", "a\nb|c\nd", []stroke{strokeHome, strokeEnd, strokeEnd}, "a\nbc|\nd"},
		{"up", "abc\nde|f", []stroke{strokeUp}, "ab|c\ndef"},
		{"up to a shorter line", "a\nlong|er", []stroke{strokeUp}, "a|\nlonger"},
		{"down", "ab|c\ndef", []stroke{strokeDown}, "abc\nde|f"},
		{"Alt-Enter", "a|b", []stroke{strokeBreak}, "a\n|b"},
		{"before", "draft|", []stroke{strokeUp}, "newest|"},
		{"before that", "draft|", []stroke{strokeUp, strokeUp, strokeUp}, "oldest|"},
		{"and back", "draft|", []stroke{strokeUp, strokeUp, strokeDown, strokeDown, strokeDown}, "draft|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, after, _ := strings.Cut(c.start, "|")
			e := &editor{text: before + after, at: len(before), history: &history{entries: []string{"oldest", "newest"}}}
			for _, s := range c.strokes {
				e.edit(key{stroke: s})
			}
			if got := edited(e); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTypingIsBounded(t *testing.T) {
	e := &editor{history: &history{}}
	e.insert(strings.Repeat("x", maxTyped))
	e.insert("y")
	if len(e.text) != maxTyped {
		t.Errorf("%d bytes", len(e.text))
	}
}

// FuzzEdit: the cursor stays in the text, and the text whole.
func FuzzEdit(f *testing.F) {
	f.Add("a日\ne\u0301 🇩🇪", []byte{byte(strokeLeft), byte(strokeUp), byte(strokeKillWord), byte(strokeDown)})
	f.Fuzz(func(t *testing.T, text string, strokes []byte) {
		e := &editor{history: &history{entries: []string{"a\nb"}}}
		e.insert(clean(strings.ToValidUTF8(text, "")))
		for _, s := range strokes {
			e.edit(key{stroke: stroke(s % byte(strokeClear+1)), text: "é"})
			if e.at < 0 || e.at > len(e.text) || strings.ToValidUTF8(e.text[:e.at], "?") != e.text[:e.at] {
				t.Fatalf("%q: the cursor is at %d", e.text, e.at)
			}
		}
	})
}
