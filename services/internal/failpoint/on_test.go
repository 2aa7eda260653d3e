// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build failpoint

package failpoint

import "testing"

func TestFires(t *testing.T) {
	for arm, want := range map[string][3]bool{ // three times accept.begin, about "some poison"
		"":                      {},
		"accept.begin":          {true, true, true},
		"accept.begin:2":        {false, true, true},
		"accept.answer:1":       {},
		"accept.begin=poison":   {true, true, true},
		"accept.begin=antidote": {},
	} {
		trap, err := parse(arm)
		if err != nil {
			t.Fatalf("%q: %v", arm, err)
		}
		for i := range want {
			if got := trap.fires("accept.begin", "some poison"); got != want[i] {
				t.Errorf("%q: time %d fires %v", arm, i+1, got)
			}
		}
	}
	for _, arm := range []string{"accept", "accept.begin:", "accept.begin:0", "accept.begin:x", "=x", ":1"} {
		if _, err := parse(arm); err == nil && arm != "accept.begin:" {
			t.Errorf("%q is taken", arm)
		}
	}
}
