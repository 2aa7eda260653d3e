// SPDX-License-Identifier: MIT OR Apache-2.0

// Package wordpiece cuts texts into the pieces that a BERT model knows.
//
//	t, err := wordpiece.Open(dir) // with tokenizer.json, or vocab.txt
//	ids := t.Encode(text, 256)    // [CLS] … [SEP]
//
// It does what the tokenizers of Hugging Face do with a BertNormalizer, a BertPreTokenizer and a
// WordPiece model; a tokenizer.json that asks for anything else is an error.
//
//	normalize.go control characters out, spaces around Chinese characters, accents off, lower case
//	wordpiece.go words apart at spaces and punctuation, then the longest pieces that are known
//	vocab.go     the pieces, in little memory
//	read.go      the files
//
// One thing differs on purpose: "[SEP]" and its like within a text are text. What somebody wrote
// cannot put special tokens into the model's input.
package wordpiece

import (
	"unicode"
	"unicode/utf8"
)

const (
	maxWord = 100     // characters of a word; a longer one is unknown as a whole
	maxText = 1 << 16 // bytes of a text that are looked at for each 256 tokens
)

// Tokenizer is safe for concurrent use.
type Tokenizer struct {
	vocab         *vocab
	prefix        string // of pieces that continue a word
	maxWord       int
	norm          normalizer
	unk, cls, sep int32
}

// Size is how many pieces there are; ids are below it.
func (t *Tokenizer) Size() int { return t.vocab.size }

// Bytes is about how much memory the vocabulary takes.
func (t *Tokenizer) Bytes() int64 { return t.vocab.bytes() }

// Fingerprint tells one tokenizer from another.
func (t *Tokenizer) Fingerprint() []byte {
	return t.vocab.fingerprint([]byte{flag(t.norm.clean), flag(t.norm.chinese), flag(t.norm.strip), flag(t.norm.lower), byte(min(t.maxWord, 255))}, t.prefix)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Encode appends a text's ids to ids, at most max with the two that stand around them. What does not find
// room is left out, from the end.
func (t *Tokenizer) Encode(ids []int32, text string, max int) []int32 {
	if max < 2 {
		return ids
	}
	from := len(ids)
	ids = append(ids, t.cls)
	e := encoder{t: t, ids: ids, full: from + max - 1}
	if limit := (max/256 + 1) * maxText; len(text) > limit {
		text = text[:limit]
	}
	t.norm.normalize(text, e.rune)
	e.flush()
	return append(e.ids, t.sep)
}

// encoder gathers the characters of a word.
type encoder struct {
	t    *Tokenizer
	ids  []int32
	full int // no more ids than that
	word []byte
	n    int // characters in word
}

// rune takes the next character. It reports whether there is room for more.
func (e *encoder) rune(r rune) bool {
	switch {
	case isSpace(r):
		e.flush()
	case isPunctuation(r):
		e.flush()
		e.add(r)
		e.flush()
	default:
		e.add(r)
	}
	return len(e.ids) < e.full
}

func (e *encoder) add(r rune) {
	if e.n++; e.n <= e.t.maxWord { // a longer word is unknown, whatever it is
		e.word = utf8.AppendRune(e.word, r)
	}
}

// flush ends a word.
func (e *encoder) flush() {
	if e.n > 0 && len(e.ids) < e.full {
		e.pieces()
		e.ids = e.ids[:min(len(e.ids), e.full)]
	}
	e.word, e.n = e.word[:0], 0
}

// pieces appends the ids of a word: from its beginning the longest piece that is known, and so on. A word
// of which any part is unknown is so as a whole.
func (e *encoder) pieces() {
	from := len(e.ids)
	unknown := func() { e.ids = append(e.ids[:from], e.t.unk) }
	if e.n > e.t.maxWord {
		unknown()
		return
	}
	prefix := ""
	for rest := e.word; len(rest) > 0; prefix = e.t.prefix {
		n, id := e.longest(prefix, rest)
		if n == 0 {
			unknown()
			return
		}
		e.ids = append(e.ids, id)
		rest = rest[n:]
	}
}

// longest finds the longest known piece at the beginning of a word's rest, and its length in bytes.
func (e *encoder) longest(prefix string, rest []byte) (int, int32) {
	for n := min(len(rest), e.t.vocab.longest); n > 0; n-- {
		if n < len(rest) && !utf8.RuneStart(rest[n]) {
			continue
		}
		if id, ok := e.t.vocab.find(prefix, rest[:n]); ok {
			return n, id
		}
	}
	return 0, 0
}

func isSpace(r rune) bool { return unicode.IsSpace(r) }

// isPunctuation is true for ASCII's symbols too, as "$".
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && r < 0x7f && !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
	}
	return unicode.IsPunct(r)
}
