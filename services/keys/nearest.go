// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"errors"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/blufio/blufio/bus"
)

// nothing says that a pattern matches nothing, and what comes nearest, with what check
// says of that.
func nothing(p string, known []string, check func(string) error) error {
	e := bus.Errorf(bus.CodeInvalid, "there is no subject %s", short(p))
	best := nearest(short(p), known)
	if best == "" {
		return e
	}
	hint := "did you mean " + best + "?"
	if why := (*bus.Error)(nil); errors.As(check(bus.Prefix+best), &why) {
		hint += " " + why.Message
	}
	return e.WithHint("%s", hint)
}

// nearest is what somebody may have meant by the pattern p, with its wildcards, "" for
// nothing: words are compared with words, and the first may have been left out. Of two as
// near, the one for operators is meant: there are a few statuses.
func nearest(p string, known []string) (best string) {
	words, least := strings.Split(p, "."), len(p)
	for _, subject := range known {
		want := strings.Split(short(subject), ".")
		for left := range 2 {
			if left >= len(want) {
				continue
			}
			meant, distance, ok := align(words, want[left:])
			if distance += left; !ok {
				continue
			}
			subject := strings.Join(slices.Concat(want[:left], meant), ".")
			if distance < least || distance == least && area(subject) == "ctl" && area(best) != "ctl" {
				best, least = subject, distance
			}
		}
	}
	return best
}

func area(subject string) string {
	first, _, _ := strings.Cut(subject, ".")
	return first
}

// align puts the words of a subject in the place of those that were typed, but for
// wildcards, and tells how far these are from them; false when one is as good as any.
func align(typed, want []string) (meant []string, distance int, ok bool) {
	for i, word := range typed {
		last := i == len(typed)-1
		switch {
		case i >= len(want):
			return nil, 0, false
		case word == ">", word == "*" && last && len(want) > len(typed):
			return append(meant, ">"), distance, true // a star stands for one word only
		case word == "*", want[i] == "*":
			meant = append(meant, word)
		default:
			d := levenshtein.ComputeDistance(word, want[i])
			if 2*d > max(len(word), len(want[i]))+1 { // two letters that changed places count twice
				return nil, 0, false
			}
			meant, distance = append(meant, want[i]), distance+d
		}
	}
	return meant, distance, len(meant) == len(want)
}

// operatorCalls are the subjects of the calls that are never handed on.
func operatorCalls() (subjects []string) {
	for _, l := range bus.Contract() {
		if s := l.Spec(); s.Kind == bus.KindCall && bus.OperatorOnly(s) {
			subjects = append(subjects, s.Subject())
		}
	}
	return subjects
}
