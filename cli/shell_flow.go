// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/rivo/uniseg"
)

const tabStop = 8 // columns between the tab stops of a terminal

// flow breaks text at spaces while it comes in pieces. A word whose end does not fit is
// taken from its row and begins the next one. Text that fits is left as it is, and a
// word longer than a row, as an address may be, is left to the terminal: so it is still
// one word when it is copied.
type flow struct {
	columns int
	col     int    // of the cursor; columns when the row is full
	inWord  bool   // the last row ends with a word that may go on
	at      int    // the column where it begins
	word    string // as it was written, unless it begins the row
}

// wrap is what to write to a terminal of so many columns for the next piece of text.
func (f *flow) wrap(s string, columns int) string {
	if columns = max(columns, 1); columns != f.columns { // the terminal has broken the rows anew
		*f = flow{columns: columns, col: f.col % columns}
	}
	var out strings.Builder
	for state := -1; s != ""; {
		if seq := colourSequence(s); seq != "" {
			out.WriteString(f.place(seq, 0))
			s, state = s[len(seq):], -1
			continue
		}
		var cluster string
		var width int
		cluster, s, width, state = uniseg.FirstGraphemeClusterInString(s, state)
		out.WriteString(f.place(cluster, width))
	}
	return out.String()
}

// colourSequence is the sequence of ours that s begins with, "" if there is none.
func colourSequence(s string) string {
	if !strings.HasPrefix(s, "\x1b[") {
		return ""
	}
	return s[:strings.IndexByte(s, 'm')+1]
}

// place writes one character.
func (f *flow) place(c string, width int) string {
	switch {
	case c == "\n":
		*f = flow{columns: f.columns}
		return "\r\n"
	case c == " ", c == "\t":
		return f.space(c)
	case width > 1: // scripts of wide characters are broken anywhere
		f.inWord, f.word = false, ""
		if f.col += width; f.col > f.columns {
			f.col = width
		}
		return c
	}
	return f.letter(c, width)
}

// space writes white space, as far as the row has room for it.
func (f *flow) space(c string) string {
	f.inWord, f.word = false, ""
	next := f.col + 1
	if c == "\t" {
		next = (f.col/tabStop + 1) * tabStop
	}
	if next > f.columns || c == "\t" && next == f.columns { // a tab does not leave the row
		f.col = f.columns
		return ""
	}
	f.col = next
	return c
}

// letter writes a part of a word.
func (f *flow) letter(c string, width int) string {
	before := ""
	switch full := f.col+width > f.columns; {
	case full && !f.inWord:
		before, f.col = "\r\n", 0
	case full && f.at > 0:
		before = fmt.Sprintf("\r\x1b[%dC%s\r\n%s", f.at, eraseRight, f.word)
		f.col, f.at, f.word = f.col-f.at, 0, ""
	case full:
		f.col = 0 // the terminal goes on in the next row
	}
	if !f.inWord {
		f.inWord, f.at = width > 0, f.col
	}
	if f.at > 0 {
		f.word += c
	}
	f.col += width
	return before + c
}
