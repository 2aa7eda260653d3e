// SPDX-License-Identifier: MIT OR Apache-2.0

// Package faithful judges a summary of a conversation, by plain rules: what a person
// would miss if it were gone has to be in it. That is what one can tell without
// understanding the text:
//
//	decision  a sentence that decides ("we agreed on", "from now on", "instead of"),
//	          of at most 1000 bytes: half of its longer words
//	date      "3 March", "March 3, 2026", "2026-03-03", "3.3.2026": day and month, however written
//	number    every word with a digit: "38.50", "14:30", "A4", "12th"
//	quoted    what stands in quotes or back quotes
//	name      a word with a capital within a sentence; where nouns have one (German),
//	          only two in a row
//
//	items := faithful.Items(texts...)            // what of the original has to be there
//	missing := faithful.Missing(items, summary)  // what is not
//
// Code between ``` is left out. Languages without capitals have no names here, and
// decisions are known in English, German, French and Spanish.
package faithful

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// Kind is what an item is, the ones that matter most first.
type Kind int

const (
	Decision Kind = iota
	Date
	Number
	Quoted
	Name
)

// Item is something that a summary has to say. Text is as the person wrote it.
type Item struct {
	Kind Kind
	Text string

	key string // alike for what means the same
}

// MaxItems bounds what is demanded of one summary: where there is more, as in a pasted
// table, what matters most and was said last is.
const MaxItems = 60

const maxText = 100 // bytes of an item

// Items finds what of the texts, the latest last, a summary has to say, each thing once.
func Items(texts ...string) []Item {
	large := german(strings.Join(texts, " "))
	seen := map[string]bool{}
	var out []Item
	for _, text := range slices.Backward(texts) {
		for _, it := range itemsOf(text, large) {
			if id := string(rune('0'+it.Kind)) + it.key; len(it.Text) <= maxText && !seen[id] {
				seen[id] = true
				out = append(out, it)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Item) int { return cmp.Compare(a.Kind, b.Kind) })
	return out[:min(len(out), MaxItems)]
}

// itemsOf looks for what needs a digit or a quote only where there is one: the expressions
// take long for a long text.
func itemsOf(text string, large bool) []Item {
	if strings.Contains(text, codeFence) {
		text = fence.ReplaceAllString(text, "\n")
	}
	digits := strings.ContainsFunc(text, unicode.IsDigit)
	if digits {
		text = bullet.ReplaceAllString(text, "")
	}
	out := decisions(text)
	if digits {
		var found []Item
		found, text = dates(text)
		out = append(append(out, found...), numbers(text)...)
	}
	if strings.ContainsAny(text, openQuotes) {
		out = append(out, quotes(text)...)
		text = quoted.ReplaceAllString(text, ", ")
	}
	return append(out, names(text, large)...)
}

// Missing are the items that a summary does not say.
func Missing(items []Item, summary string) []Item {
	s := read(summary)
	return slices.DeleteFunc(slices.Clone(items), s.has)
}

// said is a summary, as it is looked into.
type said struct {
	text  string          // folded
	words map[string]bool // folded
	stems map[string]bool
	keys  map[string]bool // of dates and numbers
}

func read(summary string) said {
	s := said{text: fold(summary), words: map[string]bool{}, stems: map[string]bool{}, keys: map[string]bool{}}
	for _, w := range strings.FieldsFunc(s.text, notWord) {
		s.words[w] = true
		s.stems[stem(w)] = true
		if n, ok := numerals[w]; ok {
			s.keys[n] = true
		}
	}
	found, rest := dates(summary)
	for _, it := range slices.Concat(found, numbers(rest), numbers(summary)) { // of a date also its numbers
		s.keys[it.key] = true
		s.keys[leading(it.key)] = true
	}
	return s
}

func (s said) has(it Item) bool {
	switch it.Kind {
	case Decision:
		words := strings.Fields(it.key)
		kept := 0
		for _, w := range words {
			if s.stems[w] {
				kept++
			}
		}
		return 2*kept >= len(words)
	case Date:
		return s.keys[it.key] || strings.Contains(s.text, fold(it.Text))
	case Number:
		return s.keys[it.key] || s.keys[unit(it.key)]
	case Name:
		return !slices.ContainsFunc(strings.FieldsFunc(it.key, notWord), func(w string) bool { return !s.words[w] && (len(w) < 4 || !strings.Contains(s.text, w)) })
	}
	return strings.Contains(s.text, it.key)
}

// fold makes alike what differs in case, kind of quotes and spaces only.
func fold(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == '’' || r == '‘' {
			return '\''
		}
		return unicode.ToLower(r)
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

func notWord(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r) }

// stem is what words of one root mostly have in common.
func stem(word string) string {
	r := []rune(word)
	return string(r[:min(len(r), 5)])
}
