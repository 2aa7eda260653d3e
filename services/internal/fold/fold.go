// SPDX-License-Identifier: MIT OR Apache-2.0

// Package fold makes texts alike that differ in case, accents, spaces and punctuation only.
package fold

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Text is in lower case and without accents.
func Text(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFD.String(strings.ToValidUTF8(text, " ")))
}

// Words are those of a text, each as [Text] makes it.
func Words(text string) []string {
	return strings.FieldsFunc(Text(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// Key is what texts share that have the same words.
func Key(text string) string { return strings.Join(Words(text), " ") }
