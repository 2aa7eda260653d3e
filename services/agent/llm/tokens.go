// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Tokens estimates how many tokens a text has for a model, by what it is made of.
// The tables of real tokenizers are megabytes, and those of some vendors nobody has;
// what is known of them is how they cut: a word goes with the space before it, digits
// by three, punctuation in runs, other scripts in short pieces. How far that is off is
// measured in tokens_test.go against OpenAI's two vocabularies; what a model reports
// of its own counts corrects the rest (see [Meter]).
func Tokens(model, text string) int64 {
	return int64(math.Ceil(weights[vocabulary(model)].of(text)))
}

// larger begins the names of models whose vocabulary has some 200 000 tokens or more,
// and so knows words of many languages.
var larger = []string{"gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "chatgpt-4o", "o1", "o3", "o4", "gemini", "gemma"}

// vocabulary is which weights are a model's: 1 for the larger ones. Of one that is not
// known the smaller is assumed, which counts more.
func vocabulary(model string) int {
	name := strings.ToLower(model[strings.LastIndexByte(model, '/')+1:])
	for _, l := range larger {
		if strings.HasPrefix(name, l) {
			return 1
		}
	}
	return 0
}

// weight says what characters cost, in tokens. They were fitted to what OpenAI's
// vocabularies cl100k_base and o200k_base make of chats, prose, code and data in
// twenty languages.
type weight struct {
	long, foreign                float64       // a letter of a word beyond the sixth; beyond the second, where the language has accents
	accent, caps                 float64       // a letter with an accent; a capital behind a capital
	han, kana, sign              float64       // one character
	scripts                      [scripts]pair // a word of another alphabet, and each letter of it
	digits, mark, marks, indents float64       // up to three digits; a punctuation mark; each one behind it; a run of spaces or lines
}

type pair struct{ word, letter float64 }

var weights = [...]weight{
	{long: .3, foreign: .15, accent: 1.3, caps: .3, han: 1.12, kana: .81, sign: 2.8,
		scripts: [scripts]pair{{.54, .5}, {.67, 1.1}, {1.1, .7}}, digits: 1.5, mark: .6, marks: .14, indents: .85},
	{long: .28, foreign: .06, accent: .95, caps: .33, han: .71, kana: .58, sign: 1.95,
		scripts: [scripts]pair{{.73, .2}, {.57, .6}, {0, .38}}, digits: 1.5, mark: .63, marks: .19, indents: .8},
}

// class is what a character is, for a tokenizer.
type class int

// Classes of which several in a row are one thing; the first three are other alphabets.
const (
	cyrillic class = iota
	hangul
	other
	scripts // how many of those there are
	latin
	digit
	punctuation
	space
	single // is one thing each
)

// of walks over the text once to see whether it is in a language with accents, and
// once to count.
func (w *weight) of(text string) float64 {
	sum, last, run := 0.0, single, 0
	perLetter, free := w.long, 6
	if accented(text) {
		perLetter, free = w.foreign, 2
	}
	var before rune
	for _, r := range text {
		c, cost := w.class(r)
		if c != last || c == latin && upper(r) && !upper(before) { // aWordLikeThis has four
			run = 0
		}
		run++
		sum += cost
		switch {
		case c < scripts && run == 1:
			sum += w.scripts[c].word
		case c == latin && run == 1:
			sum++
		case c == latin && upper(r) && upper(before):
			sum += w.caps
		case c == latin && run > free:
			sum += perLetter
		case c == digit && run%3 == 1:
			sum += w.digits
		case c == punctuation && run == 1:
			sum += w.mark
		case c == punctuation:
			sum += w.marks
		case c == space && (run == 1 && r != ' ' || run == 2 && before == ' '):
			sum += w.indents
		}
		last, before = c, r
	}
	return sum
}

func upper(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= utf8.RuneSelf && unicode.IsUpper(r)
}

// accented reports whether a letter in a hundred has an accent.
func accented(text string) bool {
	if ascii(text) {
		return false
	}
	letters, accents := 0, 0
	for _, r := range text {
		switch {
		case r|0x20 >= 'a' && r|0x20 <= 'z':
			letters++
		case r >= utf8.RuneSelf && r < latinEnd && unicode.IsLetter(r):
			accents++
		}
	}
	return accents*100 > letters
}

func ascii(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// latinEnd is the first character behind the Latin letters with accents.
const latinEnd = 0x250

// class is a character's, and what it costs by itself.
func (w *weight) class(r rune) (class, float64) {
	switch {
	case r|0x20 >= 'a' && r|0x20 <= 'z':
		return latin, 0
	case r >= '0' && r <= '9':
		return digit, 0
	case r == ' ' || r == '\n' || r == '\t' || r == '\r':
		return space, 0
	case r < utf8.RuneSelf:
		return punctuation, 0
	case r < latinEnd && unicode.IsLetter(r):
		return latin, w.accent
	case unicode.Is(unicode.Cyrillic, r):
		return cyrillic, w.scripts[cyrillic].letter
	case unicode.Is(unicode.Han, r):
		return single, w.han
	case unicode.In(r, unicode.Hiragana, unicode.Katakana):
		return single, w.kana
	case unicode.Is(unicode.Hangul, r):
		return hangul, w.scripts[hangul].letter
	case unicode.IsLetter(r) || unicode.IsMark(r):
		return other, w.scripts[other].letter
	}
	return single, w.sign
}
