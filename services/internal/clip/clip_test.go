// SPDX-License-Identifier: MIT OR Apache-2.0

package clip

import (
	"testing"
	"unicode/utf8"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s            string
		n            int
		want, marked string
	}{
		{"", 0, "", ""},
		{"abc", 3, "abc", "abc"},
		{"abcd", 3, "abc", "abc…"},
		{"a€b", 3, "a", "a…"},
		{"a€b", 4, "a€", "a€…"},
		{"€", 1, "", "…"},
		{"\xff\xff\xff", 2, "", "…"},
		{"abc", -1, "", "…"},
	} {
		if got := Bytes(c.s, c.n); got != c.want {
			t.Errorf("Bytes(%q, %d) = %q, want %q", c.s, c.n, got, c.want)
		}
		if got := Marked(c.s, c.n); got != c.marked {
			t.Errorf("Marked(%q, %d) = %q, want %q", c.s, c.n, got, c.marked)
		}
	}
}

func FuzzBytes(f *testing.F) {
	f.Add("a€b", 2)
	f.Fuzz(func(t *testing.T, s string, n int) {
		got := Bytes(s, n)
		if len(got) > max(n, 0) && got != s || utf8.ValidString(s) && (!utf8.ValidString(got) || n >= 0 && len(got) < min(n, len(s))-3) {
			t.Errorf("Bytes(%q, %d) = %q", s, n, got)
		}
	})
}
