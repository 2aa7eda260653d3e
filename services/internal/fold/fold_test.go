// SPDX-License-Identifier: MIT OR Apache-2.0

package fold

import "testing"

func TestKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                    "",
		"Favourite-Tea":       "favourite tea",
		"  favourite   tea! ": "favourite tea",
		"Café 12":             "cafe 12",
		"a\xffb":              "a b",
		"…":                   "",
	} {
		if got := Key(text); got != want {
			t.Errorf("Key(%q) = %q, want %q", text, got, want)
		}
	}
}
