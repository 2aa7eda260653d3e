// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/blufio/blufio/services/recall/embed/static"
)

// Questions are as hard as they are said to be: in common with the fact and what it is about they have most words, one, or none. Words are
// the same when they begin with the same five letters.
func TestDifficulty(t *testing.T) {
	for _, th := range things {
		told := stems(th.fact + " " + th.about)
		for _, c := range []struct {
			kind, text  string
			least, most int
		}{{verbatim, th.verbatim, 1, 9}, {near, th.near, 1, 1}, {far, th.far, 0, 0}} {
			asked, shared := stems(c.text), 0
			for w := range asked {
				if told[w] {
					shared++
				}
			}
			if shared < c.least || shared > c.most || c.kind == verbatim && 2*shared < len(asked) {
				t.Errorf("%s: %q has %d of %d words in common with %q", c.kind, c.text, shared, len(asked), th.fact)
			}
		}
	}
}

func stems(text string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.FieldsFunc(strings.ToLower(strings.ReplaceAll(text, "{v}", "")), func(r rune) bool { return !unicode.IsLetter(r) }) {
		if !static.Common(w) && !small[w] {
			out[w[:min(len(w), 5)]] = true
		}
	}
	return out
}

// small are words that say little beside those that the embedder knows as such.
var small = map[string]bool{"who": true, "whom": true, "get": true, "gets": true, "got": true, "into": true, "after": true, "must": true, "much": true, "one": true, "every": true, "like": true, "go": true, "goes": true, "take": true, "takes": true, "use": true, "name": true, "day": true, "s": true, "did": true}

// The same seed is the same plan, another one is not; every value is said, and no question says its answer.
func TestPlan(t *testing.T) {
	one, err := newPlan(1, 500)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := newPlan(1, 500)
	other, _ := newPlan(2, 500)
	if !reflect.DeepEqual(one, again) || reflect.DeepEqual(one, other) {
		t.Error("a plan does not hang on its seed alone")
	}
	count := map[string]int{}
	for _, q := range one.questions {
		count[q.kind]++
		said := 0
		for _, tu := range one.turns {
			if strings.Contains(tu.text, q.want) {
				said++
			}
			if strings.Contains(tu.reply, q.want) {
				t.Errorf("an answer says %q", q.want)
			}
		}
		if said != 1 || strings.Contains(q.text, q.want) {
			t.Errorf("%q: %q is said %d times", q.text, q.want, said)
		}
	}
	kept := 0
	for _, tu := range one.turns {
		if tu.keep != nil {
			kept++
		}
	}
	t.Log(len(one.turns), "turns,", kept, "facts,", len(one.questions), "questions:", count)
	for _, k := range kinds {
		if count[k] < 5 {
			t.Errorf("%s: %d questions", k, count[k])
		}
	}
	if _, err := newPlan(1, 10); err == nil {
		t.Error("more facts than turns are no error")
	}
}
