// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"errors"
	"strings"
	"testing"
)

func TestPatternMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"", "evt.turn.completed", true},
		{"", "ctl.status", false},
		{"turn.completed", "evt.turn.completed", true},
		{"evt.turn.completed", "evt.turn.completed", true},
		{"turn.completed", "evt.turn.failed", false},
		{"turn.*", "evt.turn.failed", true},
		{"*.failed", "evt.turn.failed", true},
		{"*.failed", "evt.turn.completed", false},
		{"turn", "evt.turn.failed", false},
		{"turn.*", "evt.turn.a.b", false},
		{"turn.*", "evt.turn", false},
		{"turn.>", "evt.turn.a.b", true},
		{"turn.>", "evt.turn", false},
		{"evt.>", "evt.turn.failed", true},
		{">", "evt.anything", true},
		{">", "ctl.status", false},
		{"turn.completed.now", "evt.turn.completed", false},
		{"turn-2.x_9", "evt.turn-2.x_9", true},
	} {
		p, err := ParsePattern(tc.pattern)
		if err != nil {
			t.Errorf("%q: %v", tc.pattern, err)
		}
		if got := p.Match(tc.name); got != tc.want {
			t.Errorf("%q of %q: %v", tc.pattern, tc.name, got)
		}
	}
}

func TestPatternRefusals(t *testing.T) {
	for _, text := range []string{".", "turn.", ".turn", "a..b", "a b", "[", "(.*", "Turn.*", ">.turn", "turn.>.x", "evt.", "t*", strings.Repeat("a.", 100) + "a"} {
		_, err := ParsePattern(text)
		if !errors.Is(err, &Error{Code: CodeInvalid}) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A pattern without wildcards chooses exactly its own name.
func FuzzPattern(f *testing.F) {
	for _, text := range []string{"", "turn.*", "evt.>", "budget.>", "*.*", "a..b", "[", ">", "evt.evt"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePattern(text)
		if err != nil {
			return
		}
		p.Match("evt." + text)
		if text != "" && !strings.ContainsAny(text, "*>") && !p.Match("evt."+strings.TrimPrefix(text, "evt.")) {
			t.Errorf("%q does not choose itself", text)
		}
	})
}
