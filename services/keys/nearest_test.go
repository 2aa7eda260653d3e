// SPDX-License-Identifier: MIT OR Apache-2.0

package keys

import (
	"errors"
	"testing"

	"github.com/blufio/blufio/bus"
)

// What is suggested is what was meant, word by word, and not what has the most letters in
// common.
func TestSuggestions(t *testing.T) {
	for p, want := range map[string]string{
		"evt.trun.*":        "did you mean evt.turn.*?",
		"turn.*":            "did you mean evt.turn.*?",
		"turn.complete":     "did you mean evt.turn.completed?",
		"evt.*":             "did you mean evt.>?",
		"evt.turn.complete": "did you mean evt.turn.completed?",
		"evnt.>":            "did you mean evt.>?",
		"msg.dleta.x":       "did you mean msg.delta.x?",
		"msg.dleta.*":       "did you mean msg.delta.*?",
		"something.else":    "",
	} {
		suggests(t, p, want, hearable)
	}
	for p, want := range map[string]string{
		"ctl.statsu":           "did you mean ctl.status?",
		"status":               "did you mean ctl.status?",
		"queue.*":              "did you mean ctl.queue.*?",
		"blufio.v1.keys.issue": "did you mean ctl.keys.issue? ctl.keys.issue is for operators only",
		"cost.gte":             "did you mean cost.get?",
	} {
		suggests(t, p, want, callable)
	}
}

func suggests(t *testing.T, p, want string, check func(string) error) {
	t.Helper()
	_, err := each([]string{p}, check)
	var e *bus.Error
	if !errors.As(err, &e) || e.Hint != want {
		t.Errorf("%s: %v", p, err)
		if e != nil {
			t.Logf("hint: %s", e.Hint)
		}
	}
}
