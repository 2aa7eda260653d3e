// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"strings"
	"testing"

	"github.com/rivo/uniseg"
)

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		name, text string
		at         int
		rows       []string
		row, col   int
	}{
		{"empty", "", 0, []string{"> "}, 0, 2},
		{"short", "abc", 1, []string{"> abc"}, 0, 3},
		{"full row", "abcdefgh", 8, []string{"> abcdefgh", ""}, 1, 0},
		{"wrapped", "abcdefghijk", 9, []string{"> abcdefgh", "ijk"}, 1, 1},
		{"lines", "a\nb\n", 4, []string{"> a", "  b", "  "}, 2, 2},
		{"line break at the edge", "abcdefgh\nx", 8, []string{"> abcdefgh", "  x"}, 0, 9},
		{"wide at the edge", "abcdefg日", 7, []string{"> abcdefg", "日"}, 1, 0},
		{"combining", "e\u0301x", 3, []string{"> e\u0301x"}, 0, 3},
		{"family", "👨\u200d👩\u200d👧x", len("👨\u200d👩\u200d👧"), []string{"> 👨\u200d👩\u200d👧x"}, 0, 4},
		{"tab", "\tx", 1, []string{">     x"}, 0, 6},
	} {
		rows, row, col := layout("> ", c.text, c.at, 10)
		if strings.Join(rows, "|") != strings.Join(c.rows, "|") || row != c.row || col != c.col {
			t.Errorf("%s: %q, cursor %d/%d, want %q, %d/%d", c.name, rows, row, col, c.rows, c.row, c.col)
		}
	}
	if rows, _, _ := layout("a long session > ", "x", 0, 10); rows[0] != "x" {
		t.Errorf("a prompt without room: %q", rows)
	}
}

func FuzzLayout(f *testing.F) {
	f.Add("abc日本\n\te\u0301👨\u200d👩\u200d👧", 5, 4)
	f.Fuzz(func(t *testing.T, text string, at, columns int) {
		text = clean(strings.ToValidUTF8(text, ""))
		e := &editor{text: text, at: 0}
		for e.at < at && e.at < len(text) {
			e.at = e.right()
		}
		columns = 8 + max(0, columns%100)
		rows, row, col := layout("> ", text, e.at, columns)
		for _, r := range rows {
			if uniseg.StringWidth(r) > columns {
				t.Errorf("%q has a row %q that is wider than %d", text, r, columns)
			}
		}
		if row < 0 || row >= len(rows) || col < 0 || col >= columns {
			t.Errorf("%q: the cursor is at %d/%d", text, row, col)
		}
	})
}

// TestTypingIsDrawnInPlace: after any keys the screen shows the message and nothing
// of what was there before.
func TestTypingIsDrawnInPlace(t *testing.T) {
	g := newGlass(t, 20, 8)
	p, e := g.pane(ui{}), &editor{history: &history{}}
	p.line("hello")
	press := func(keys ...key) {
		for _, k := range keys {
			e.edit(k)
			p.typing("> ", e)
			if err := p.flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	press(key{stroke: strokeText, text: "aaaa bbbb cccc dddd eeee 日本 ffff"})
	g.want(t, "hello", "> aaaa bbbb cccc ddd", "d eeee 日本 ffff")
	press(key{stroke: strokeHome}, key{stroke: strokeText, text: "X"})
	g.want(t, "hello", "> Xaaaa bbbb cccc dd", "dd eeee 日本 ffff")
	if g.row != 1 || g.col != 3 {
		t.Errorf("the cursor is at %d/%d", g.row, g.col)
	}
	press(key{stroke: strokeKillEnd})
	g.want(t, "hello", "> X")
	press(key{stroke: strokePaste, text: "\none\ntwo"})
	g.want(t, "hello", "> X", "  one", "  two")
	p.line("a note")
	p.typing("> ", e)
	_ = p.flush()
	g.want(t, "hello", "a note", "> X", "  one", "  two")
	p.typed("> ", e.take())
	p.tell("…thinking 1s and more than fits")
	_ = p.flush()
	g.want(t, "hello", "a note", "> X", "  one", "  two", "…thinking 1s and mo")
	p.text("The ")
	p.tell("never in a line")
	p.text("answer")
	p.freshLine()
	_ = p.flush()
	g.want(t, "hello", "a note", "> X", "  one", "  two", "The answer")
}

// TestTypingMoreThanTheScreen: a long message is shown around the cursor.
func TestTypingMoreThanTheScreen(t *testing.T) {
	g := newGlass(t, 20, 5)
	p, e := g.pane(ui{}), &editor{history: &history{}}
	p.line("before")
	e.insert("1\n2\n3\n4\n5\n6\n7\n8\n9")
	p.typing("> ", e)
	_ = p.flush()
	g.want(t, "before", "  6", "  7", "  8", "  9")
	for range 8 {
		e.edit(key{stroke: strokeUp})
		p.typing("> ", e)
		_ = p.flush()
	}
	g.want(t, "before", "> 1", "  2", "  3", "  4")
	p.typed("> ", e.take())
	_ = p.flush()
	g.want(t, "  6", "  7", "  8", "  9")
}

// TestNarrower: a terminal that became narrower has broken the rows in two.
func TestNarrower(t *testing.T) {
	d := &drawn{widths: []int{40, 0, 25, 30}, row: 3, col: 25}
	for columns, up := range map[int]string{40: upwards(3), 80: upwards(3), 20: upwards(2 + 1 + 2 + 1)} {
		if got := d.toTop(columns); got != up+"\r" {
			t.Errorf("toTop(%d) = %q, want %q", columns, got, up)
		}
	}
}
