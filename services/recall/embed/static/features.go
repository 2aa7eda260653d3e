// SPDX-License-Identifier: MIT OR Apache-2.0

package static

import (
	"math"
	"math/bits"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/blufio/blufio/services/recall/embed"
	"golang.org/x/text/unicode/norm"
)

const maxWord = 64 // characters of a word that are looked at

// Weights of what is found in a text, against each other.
const (
	wordWeight   = 1.0
	pairWeight   = 0.5          // of neighbouring words
	pieceWeight  = float32(0.3) // of a word's parts of three characters; longer ones are rarer and count less
	slipWeight   = float32(0.5) // of a word as it is when letters changed places, and without its vowels
	slipLeast    = 5            // characters of a word that slips are looked for in
	commonWeight = 0.15
	aloneWeight  = 0.5 // of a character that is a word
)

// vector makes the vector of one text; wide counts what its words are about, too.
func vector(text string, wide bool) []float32 {
	if len(text) > maxText {
		text = text[:maxText]
	}
	c := newCounter(len(text))
	c.wide = wide
	for _, r := range text {
		c.rune(unicode.ToLower(r))
	}
	c.word()
	return c.vector()
}

// counter gathers the features of a text, in the order in which they come: sums of float32 depend on their order.
type counter struct {
	w     [maxWord + 2]rune // the word so far, from 1 on; its beginning and end get marks
	n     int
	last  uint64 // hash of the word before, 0 at the beginning
	found []feature
	slots []uint32 // hash table: feature + 1
	wide  bool     // groups of related words count
}

type feature struct {
	hash   uint64
	weight float32
	count  int32
}

func newCounter(bytes int) *counter {
	return &counter{found: make([]feature, 0, 2*bytes+8), slots: make([]uint32, 64<<bits.Len(uint(bytes/8)))}
}

// rune takes the next character, in lower case.
func (c *counter) rune(r rune) {
	switch {
	case alone(r):
		c.word()
		h := hash([]rune{r}, 0)
		c.add(h, aloneWeight)
		c.pair(h, wordWeight)
	case unicode.IsLetter(r) || unicode.IsDigit(r):
		if c.n < maxWord {
			c.n++
			c.w[c.n] = fold(r)
		}
	case unicode.IsMark(r) || r == '\'' || r == '’': // an accent by itself; "don't"
	default:
		c.word()
	}
}

// word ends a word: it counts, its pair with the one before, and its parts.
func (c *counter) word() {
	if c.n == 0 {
		return
	}
	w := c.w[1 : c.n+1]
	weight := float32(wordWeight)
	if common(w) {
		weight = commonWeight
	}
	h := hash(w, 0)
	c.add(h, weight)
	c.pair(h, pairWeight*weight)
	c.w[0], c.w[c.n+1] = '<', '>'
	marked, least, piece := c.w[:c.n+2], 3, pieceWeight*weight
	if unicode.Is(unicode.Hangul, w[0]) { // a character is a syllable, and a word ends in what it does in its sentence
		marked, least, piece = c.w[:c.n+1], 2, 2*pieceWeight*weight
	}
	for size := least; size < least+3 && size <= len(marked) && c.n > 1; size++ {
		for i := 0; i+size <= len(marked); i++ {
			c.add(hash(marked[i:i+size], uint64(size)), piece/float32(size-least+1))
		}
	}
	if c.n >= slipLeast {
		c.slips(w, slipWeight*weight)
	}
	if c.wide && weight == wordWeight {
		c.related(w)
	}
	c.n = 0
}

// Kinds of features, beside the sizes of pieces.
const (
	kindLetters = 16 + iota
	kindBones
	kindRelated
)

// slips counts what is left of a word that was typed in haste: its letters in any order, but for the first, and its
// consonants, doubled ones once.
func (c *counter) slips(w []rune, weight float32) {
	letters := slices.Clone(w)
	slices.Sort(letters[1:])
	c.add(hash(letters, kindLetters), weight)
	if b := bones(w); len(b) > 2 {
		c.add(hash(b, kindBones), weight)
	}
}

// bones are the first letter of a word and the consonants behind it, doubled ones once, without an s at the end: that is a
// plural, in some languages.
func bones(w []rune) []rune {
	out := append(make([]rune, 0, maxWord), w[0])
	for _, r := range w[1:] {
		if !vowel(r) && r != out[len(out)-1] {
			out = append(out, r)
		}
	}
	if n := len(out); n > 3 && out[n-1] == 's' {
		out = out[:n-1]
	}
	return out
}

// vowel is true for the letters that people leave out or mistake most, in Latin and in Cyrillic script.
func vowel(r rune) bool {
	switch r {
	case 'a', 'e', 'i', 'o', 'u', 'y', 'а', 'е', 'и', 'о', 'у', 'ы', 'э', 'ю', 'я':
		return true
	}
	return false
}

func (c *counter) pair(h uint64, weight float32) {
	if c.last != 0 {
		c.add(mix(c.last*3^h), weight)
	}
	c.last = h
}

// add counts a feature.
func (c *counter) add(h uint64, weight float32) {
	mask := uint64(len(c.slots) - 1)
	at := h & mask
	for ; c.slots[at] != 0; at = (at + 1) & mask {
		if f := &c.found[c.slots[at]-1]; f.hash == h {
			f.count++
			return
		}
	}
	c.found = append(c.found, feature{h, weight, 1})
	c.slots[at] = uint32(len(c.found))
	if 2*len(c.found) > len(c.slots) {
		c.rehash()
	}
}

// rehash doubles the table.
func (c *counter) rehash() {
	c.slots = make([]uint32, 2*len(c.slots))
	mask := uint64(len(c.slots) - 1)
	for i := range c.found {
		at := c.found[i].hash & mask
		for c.slots[at] != 0 {
			at = (at + 1) & mask
		}
		c.slots[at] = uint32(i + 1)
	}
}

// vector adds each feature up at its place, with its sign.
func (c *counter) vector() []float32 {
	v := make([]float32, Dim)
	for _, f := range c.found {
		x := f.weight * float32(1+math.Log(float64(f.count)))
		if f.hash>>63 != 0 {
			x = -x
		}
		at, _ := bits.Mul64(f.hash<<1, Dim) // the bits below the sign, as a share of Dim
		v[at] += x
	}
	embed.Normalize(v)
	return v
}

// hash is FNV-1a over characters, mixed: the same on every machine.
func hash(w []rune, kind uint64) uint64 {
	h := 14695981039346656037 ^ kind
	for _, r := range w {
		h = (h ^ uint64(r)) * 1099511628211
	}
	return mix(h)
}

// mix spreads a hash over all its bits, and is never 0 but for 0.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// alone is true for characters of scripts that put no spaces between words.
func alone(r rune) bool {
	return r >= 0x0E00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// fold takes the accents off a letter, for people leave them out.
func fold(r rune) rune {
	if r < 0xC0 {
		return r
	}
	var b [utf8.UTFMax]byte
	if d := norm.NFD.Properties(utf8.AppendRune(b[:0], r)).Decomposition(); len(d) > 0 {
		r, _ = utf8.DecodeRune(d)
	}
	return r
}

// Common reports whether a word in lower case, without accents, says nothing of what a text is about. Words such as "down"
// count little in a sentence and are not among them: by itself one can be all that is asked for.
func Common(word string) bool {
	switch word {
	case "out", "up", "down", "off", "over":
		return false
	}
	return common([]rune(word))
}

const longestCommon = 8

// common is true for words that say nothing of what a text is about, in a few languages.
func common(w []rune) bool {
	if len(w) > longestCommon {
		return false
	}
	var b [longestCommon * utf8.UTFMax]byte
	word := b[:0]
	for _, r := range w {
		word = utf8.AppendRune(word, r)
	}
	switch string(word) {
	case "a", "an", "the", "i", "you", "he", "she", "it", "we", "they", "my", "your", "his", "her", "its", "our", "their", "me", "him", "us", "them",
		"is", "am", "are", "was", "were", "be", "been", "do", "does", "did", "have", "has", "had", "will", "would", "can", "could",
		"must", "should", "shall", "may", "might", "let", "get", "got", "please", "just", "only", "very", "too", "also", "again", "now", "here", "then", "than",
		"some", "any", "all", "each", "every", "one", "ones", "such", "same", "other", "both", "more", "most", "these", "those", "whom", "whose", "somebody", "someone",
		"into", "onto", "out", "up", "down", "off", "over", "about",
		"of", "to", "in", "on", "at", "by", "for", "with", "from", "as", "and", "or", "but", "if", "so", "not", "no", "that", "this", "what", "which", "who", "when", "where", "how", "there",
		"der", "die", "das", "den", "dem", "des", "ein", "eine", "und", "oder", "ist", "sind", "war", "im", "von", "zu", "mit", "auf", "fur", "ich", "du", "er", "sie", "es", "wir", "ihr", "nicht", "wo", "wer", "wie",
		"le", "la", "les", "un", "une", "et", "ou", "est", "sont", "de", "dans", "pour", "je", "tu", "il", "elle", "nous", "que", "qui",
		"el", "los", "las", "una", "y", "o", "son", "en", "con", "por", "para", "se",
		"и", "в", "на", "с", "по", "не", "что", "это", "я", "ты", "он", "она", "мы", "как", "у", "к", "из":
		return true
	}
	return false
}
