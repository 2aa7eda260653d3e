// SPDX-License-Identifier: MIT OR Apache-2.0

package wordpiece

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalizer is a BertNormalizer.
type normalizer struct {
	clean   bool // control characters out, every space a plain one
	chinese bool // spaces around Chinese characters
	strip   bool // accents off
	lower   bool
}

// normalize calls f with the characters of a text, until it returns false.
func (z normalizer) normalize(text string, f func(rune) bool) {
	for _, r := range text {
		switch {
		case z.clean && unwanted(r):
			continue
		case z.chinese && isChinese(r):
			if !(f(' ') && z.plain(r, f) && f(' ')) {
				return
			}
		case !z.plain(r, f):
			return
		}
	}
}

// plain takes a character's accents off and makes it lower case.
func (z normalizer) plain(r rune, f func(rune) bool) bool {
	if r < utf8.RuneSelf {
		if z.lower && r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return f(r)
	}
	if !z.strip {
		return f(z.lowered(r))
	}
	var in, out [64]byte
	for rest := norm.NFD.Append(out[:0], utf8.AppendRune(in[:0], r)...); len(rest) > 0; {
		part, n := utf8.DecodeRune(rest)
		rest = rest[n:]
		if !unicode.Is(unicode.Mn, part) && !f(z.lowered(part)) {
			return false
		}
	}
	return true
}

func (z normalizer) lowered(r rune) rune {
	if z.lower {
		return unicode.ToLower(r)
	}
	return r
}

// unwanted is true for control characters, and for what is no character.
func unwanted(r rune) bool {
	switch r {
	case '\t', '\n', '\r':
		return false
	case 0, utf8.RuneError:
		return true
	}
	return unicode.Is(unicode.C, r)
}

// isChinese is true for characters that stand for words: those of Chinese, as Japanese uses them too.
func isChinese(r rune) bool {
	switch {
	case r < 0x3400:
		return false
	case r >= 0x4E00 && r <= 0x9FFF, r <= 0x4DBF, r >= 0xF900 && r <= 0xFAFF,
		r >= 0x20000 && r <= 0x2A6DF, r >= 0x2A700 && r <= 0x2CEAF, r >= 0x2F800 && r <= 0x2FA1F:
		return true
	}
	return false
}
