// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"crypto/sha256"
	"slices"
	"strings"
	"unicode"

	"github.com/blufio/blufio/services/internal/fold"
	"github.com/blufio/blufio/services/recall/embed/static"
)

// sameText is a hash that texts share which differ in case, accents, spaces and punctuation only.
func sameText(text string) []byte {
	words := fold.Key(text)
	if words == "" {
		words = strings.TrimSpace(text)
	}
	h := sha256.Sum256([]byte(words))
	return h[:16]
}

// marks are what has to be the same in two texts that say the same: numbers, names, and whether they deny. A vector
// hardly tells "at 5" from "at 6".
func marks(text string) []string {
	var out []string
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mn, r) }) {
		first := []rune(w)[0]
		f := fold.Text(w)
		switch {
		case denies(f), strings.ContainsFunc(w, unicode.IsDigit):
			out = append(out, f)
		case (unicode.IsUpper(first) || unicode.IsTitle(first)) && !static.Common(f):
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// denies is true for words that turn a sentence around, in a few languages; "t" is the end of "don't".
func denies(word string) bool {
	switch word {
	case "not", "no", "never", "none", "without", "t", "cannot", "stopped", "nicht", "kein", "keine", "keinen", "keiner", "nie", "ohne",
		"pas", "jamais", "sans", "non", "nunca", "sin", "mai", "senza", "nao", "niet", "geen", "nooit", "ikke", "inte", "ne", "не", "нет":
		return true
	}
	return false
}
