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
// paragraph if there is one in the second half of a message, else of a line, else of a
// word, else anywhere; earlier where there are too many tags. It is the same every time for the same text.
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

// cut takes the first message of rs.
func cut(rs runs, limit int) (part, rest runs) {
	text := rs.plain()
	end := min(prefix(text, limit), rs.tagged(maxEntities))
	if end == len(text) {
		return rs, nil
	}
	at, skip := border(text[:end], text[end:])
	return rs.slice(0, at), rs.slice(at+skip, len(text))
}

// prefix is how many bytes of s fit into limit units; at least one character.
func prefix(s string, limit int) int {
	n := 0
	for i, r := range s {
		if n += utf16.RuneLen(r); n > limit && i > 0 {
			return i
		}
	}
	return len(s)
}

// tagged is how many bytes of the text have at most limit tags.
func (rs runs) tagged(limit int) int {
	var open []tag
	at, n := 0, 0
	for _, r := range rs {
		ts := r.tags()
		if n += len(ts) - shared(open, ts); n > limit {
			return at
		}
		open = ts
		at += len(r.text)
	}
	return at
}

// border finds where to cut within head, and how many bytes of blank are left out
// there.
func border(head, tail string) (at, skip int) {
	half := len(head) / 2
	for _, sep := range []string{"\n\n", "\n"} {
		if strings.HasPrefix(tail, sep) || sep == "\n\n" && strings.HasSuffix(head, "\n") && strings.HasPrefix(tail, "\n") {
			if strings.HasPrefix(tail, sep) {
				return len(head), len(sep)
			}
			return len(head) - 1, 2
		}
		if i := strings.LastIndex(head, sep); i > half {
			return i, len(sep)
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

// slice is the text between two bytes of it.
func (rs runs) slice(from, to int) runs {
	var out builder
	at := 0
	for _, r := range rs {
		begin, end := max(from-at, 0), min(to-at, len(r.text))
		at += len(r.text)
		if begin >= end {
			continue
		}
		r.text = r.text[begin:end]
		out.add(r)
	}
	return out.runs()
}
