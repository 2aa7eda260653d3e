// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"testing"

	"github.com/blufio/blufio/services/internal/clip"
)

// Whatever is asked, FTS5 takes it.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"", "the dentist's phone", `"`, `a" OR "b`, "NEAR(a b)", "owner : x", "-x ^y *z", "\x00a\x00", "\xff\xfe", "日本語 한국어", "ẞ ǆ ᾳ İ", "a\u0301", "🎉", "{text} : b"} {
		f.Add("terminal:owner", s)
		f.Add(s, s)
	}
	r := newRig(f, nil)
	r.keep("1", "The dentist is on Tuesday.")
	r.rows.Store(10_000)
	f.Fuzz(func(t *testing.T, owner, text string) {
		if !validOwner(owner) {
			owner = ""
		}
		if _, err := r.byWords(t.Context(), owner, clip.Bytes(text, 4096), 10, false); err != nil {
			t.Errorf("owner %q, %q becomes %q: %v", owner, text, expression(owner, terms(text)), err)
		}
	})
}
