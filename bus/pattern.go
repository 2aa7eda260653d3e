// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "strings"

// maxPattern bounds the text of a Pattern, in bytes.
const maxPattern = 200

// Pattern chooses facts by the names of their lanes. The zero value is all.
type Pattern struct {
	words []string // of the name below "evt"
}

// ParsePattern reads a pattern as a NATS subject below "evt": words with dots
// between, "*" for any one word, a last ">" for one and more that follow:
// "turn.completed", "turn.*", "budget.>". It may begin with "evt."; the empty
// text is all. The error is a CodeInvalid with a hint.
func ParsePattern(text string) (Pattern, error) {
	if text == "" {
		return Pattern{}, nil
	}
	refusal := Errorf(CodeInvalid, "%q is not a pattern of events", text).WithHint("write it like turn.completed, turn.* or budget.>")
	if len(text) > maxPattern {
		return Pattern{}, Errorf(CodeInvalid, "the pattern of events is longer than %d bytes", maxPattern)
	}
	words := strings.Split(strings.TrimPrefix(text, "evt."), ".")
	for i, word := range words {
		if word != "*" && (word != ">" || i < len(words)-1) && !ValidToken(word) {
			return Pattern{}, refusal
		}
	}
	return Pattern{words: words}, nil
}

// Known reports whether the pattern chooses any lane of the contract.
func (p Pattern) Known() bool {
	for _, l := range Contract() {
		if l.Spec().Kind == KindDurable && p.Match(l.Spec().Name) {
			return true
		}
	}
	return false
}

// Match reports whether the pattern chooses the lane of that name, as
// "evt.turn.completed".
func (p Pattern) Match(name string) bool {
	rest, ok := strings.CutPrefix(name, "evt.")
	if !ok {
		return false
	}
	for _, word := range p.words {
		if word == ">" {
			return rest != ""
		}
		have, more, _ := strings.Cut(rest, ".")
		if have == "" || word != "*" && word != have {
			return false
		}
		rest = more
	}
	return p.words == nil || rest == ""
}
