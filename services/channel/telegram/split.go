// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxUnits is Telegram's bound of one message: visible characters, counted as
// UTF-16 units.
const maxUnits = 4096

// maxEntities is Telegram's bound of the tags in one message; it leaves out the rest,
// with the addresses of links.
const maxEntities = 100

// emptyAnswer is said when there is nothing to be seen in an answer.
const emptyAnswer = "(The answer is empty.)"

// units is the length of s as Telegram counts it.
func units(s string) (n int) {
	for _, r := range s {
		n += utf16.RuneLen(r) // valid text has no rune without a length
	}
	return n
}

// split makes of an answer the messages that it is sent as: at the border of a
// paragraph if there is one in the second half of a message, else of a line, rather of
// one that is not indented, else of a word, else anywhere; earlier where there are too many tags. It is the same every time for the same text.
func split(text string, limit int) []runs { return parse(text).split(limit) }

// messages is split for an answer, of which something is always sent: when its marks
// surround nothing, what was written.
func messages(text string) []runs {
	if parts := split(text, maxUnits); len(parts) > 0 {
		return parts
	}
	raw := clean(text)
	if !visible(raw) {
		raw = emptyAnswer
	}
	return runs{{text: raw}}.split(maxUnits)
}

// visible reports whether there is anything to see. Telegram refuses a message of
// blanks, in the wide sense of what shows nothing.
func visible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) && r != '\u2800'
	})
}

func (rs runs) split(limit int) []runs {
	var parts []runs
	rest := rs
	for len(rest) > 0 {
		part, more := cut(rest, limit)
		if visible(part.plain()) {
			parts = append(parts, part)
		}
		rest = more
	}
	return parts
}

// cut takes the first message of rs, which is the caller's no more.
func cut(rs runs, limit int) (part, rest runs) {
	text, end := rs.first(limit)
	if end == len(text) {
		return rs, nil
	}
	at, skip := border(text[:end], text[end:])
	return rs.before(at), rs.behind(at + skip)
}

// first is the text that fits into limit units and maxEntities tags, at least one
// character, and a little of what follows; end is where that begins.
func (rs runs) first(limit int) (text string, end int) {
	var b strings.Builder
	var open []tag
	tags, full := 0, false
	for _, r := range rs {
		if full && b.Len() >= end+utf8.UTFMax {
			break
		}
		if !full {
			ts := r.tags()
			tags += len(ts) - shared(open, ts)
			open = ts
			n := 0
			if tags <= maxEntities {
				n, limit = prefix(r.text, limit, b.Len() == 0)
			}
			end += n
			full = n < len(r.text)
		}
		b.WriteString(r.text[:min(len(r.text), end+utf8.UTFMax-b.Len())])
	}
	return b.String(), end
}

// prefix is how many bytes of s fit into limit units, one character whatever the
// limit if there must be some, and how many units are left.
func prefix(s string, limit int, some bool) (n, left int) {
	for i, r := range s {
		u := utf16.RuneLen(r)
		if u > limit && !(some && i == 0) {
			return i, limit
		}
		limit -= u
	}
	return len(s), limit
}

// border finds where to cut within head, and how many bytes of blank are left out
// there.
func border(head, tail string) (at, skip int) {
	all, half := head+tail, len(head)/2
	for _, indented := range []bool{false, true} { // Telegram takes blanks off the beginning of a message, which code cannot spare
		for _, sep := range []string{"\n\n", "\n"} {
			for i := min(len(head), len(all)-len(sep)); i > half; i-- {
				next := all[i+min(len(sep), len(all)-i):]
				if strings.HasPrefix(all[i:], sep) && (indented || !strings.HasPrefix(next, " ") && !strings.HasPrefix(next, "\t")) {
					return i, len(sep)
				}
			}
		}
	}
	if r, n := utf8.DecodeRuneInString(tail); unicode.IsSpace(r) {
		return len(head), n
	}
	if i := strings.LastIndexFunc(head, unicode.IsSpace); i > half {
		_, n := utf8.DecodeRuneInString(head[i:])
		return i, n
	}
	return len(head), 0
}

// before is the first bytes of the text.
func (rs runs) before(at int) runs {
	var out builder
	for _, r := range rs {
		if at <= 0 {
			break
		}
		size := len(r.text)
		r.text = r.text[:min(size, at)]
		out.add(r)
		at -= size
	}
	return out.runs()
}

// behind is the text without its first bytes. It takes the place of rs.
func (rs runs) behind(at int) runs {
	for len(rs) > 0 && at >= len(rs[0].text) {
		at -= len(rs[0].text)
		rs = rs[1:]
	}
	if len(rs) > 0 {
		rs[0].text = rs[0].text[at:]
	}
	return rs
}
