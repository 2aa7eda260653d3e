// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"strings"
	"testing"
)

// TestFlow: words stay whole, in whatever pieces they come.
func TestFlow(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"fits", "one  two\n three", []string{"one  two", " three"}},
		{"wraps", "one two three four", []string{"one two", "three four"}},
		{"full row", "0123456789 next", []string{"0123456789", "next"}},
		{"space in the last column", "012345678 next", []string{"012345678", "next"}},
		{"full row and a line break", "0123456789 \nnext", []string{"0123456789", "next"}},
		{"longer than a row", "see http://a.example/b-c now", []string{"see", "http://a.e", "xample/b-c", "now"}},
		{"wide", "a 日本日本日本", []string{"a 日本日本", "日本"}},
		{"combining", "aaaaa bbbe\u0301e\u0301 c", []string{"aaaaa", "bbbe\u0301e\u0301 c"}},
		{"tab", "a\tbcd", []string{"a", "bcd"}},
		{"coloured", "aaaa \x1b[31mbbbbbb\x1b[0m c", []string{"aaaa", "bbbbbb c"}},
	} {
		for _, size := range []int{1000, 1} {
			g := newGlass(t, 10, 6)
			p := g.pane(ui{})
			p.line("before")
			for s := []rune(c.text); len(s) > 0; {
				n := min(size, len(s))
				if s[0] == '\x1b' {
					n = min(max(n, 5), len(s))
				}
				p.text(string(s[:n]))
				s = s[n:]
			}
			_ = p.flush()
			if got := strings.TrimPrefix(g.String(), "before\n"); strings.ReplaceAll(got, "\u0301", "") != strings.ReplaceAll(strings.Join(c.want, "\n"), "\u0301", "") {
				t.Errorf("%s in pieces of %d:\n%s\nwant\n%s", c.name, size, got, strings.Join(c.want, "\n"))
			}
		}
	}
}

// TestFlowCopies: nothing is added to text that fits.
func TestFlowCopies(t *testing.T) {
	text := "# A title\n\n    indented  code\n\ta tab, and \x1b[2mcolour\x1b[22m.\n"
	if got := new(flow).wrap(text, 80); got != strings.ReplaceAll(text, "\n", "\r\n") {
		t.Errorf("%q", got)
	}
}

// TestFlowNarrower: after the window has changed nothing written before is moved.
func TestFlowNarrower(t *testing.T) {
	f := &flow{}
	f.wrap("aaaa bbbb", 20)
	if got := f.wrap("cccc dd", 10); strings.Contains(got, "b") {
		t.Errorf("%q", got)
	}
}

// FuzzFlow: every character is shown, in its order, and a word that fits into a row is
// in one row.
func FuzzFlow(f *testing.F) {
	f.Add("one two three-and-four  a\tvery long word\n x", 3, 10)
	f.Add("0123456789 0123456789", 1, 10)
	f.Fuzz(func(t *testing.T, text string, size, columns int) {
		text = strings.Map(func(r rune) rune {
			if r > '~' || r < ' ' && r != '\n' && r != '\t' {
				return -1
			}
			return r
		}, text[:min(len(text), 500)])
		size, columns = 1+max(0, size%20), 2+max(0, columns%40)
		g := newGlass(t, columns, 600)
		p := g.pane(ui{})
		for s := text; s != ""; {
			n := min(size, len(s))
			p.text(s[:n])
			s = s[n:]
		}
		_ = p.flush()
		shown := strings.Fields(g.String())
		for i, w := range strings.Fields(text) {
			got := ""
			for len(shown) > 0 && len(got) < len(w) {
				got, shown = got+shown[0], shown[1:]
				if len(w) <= columns && got != w {
					t.Fatalf("word %d, %q, is %q in %q on\n%s", i, w, got, text, g)
				}
			}
			if got != w {
				t.Fatalf("word %d, %q, is %q in %q on\n%s", i, w, got, text, g)
			}
		}
	})
}
