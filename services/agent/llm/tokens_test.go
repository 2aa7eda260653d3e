// SPDX-License-Identifier: MIT OR Apache-2.0

package llm

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names of models, one for each set of weights.
const (
	small = "gpt-4"  // cl100k_base
	large = "gpt-4o" // o200k_base
)

// counted are the true counts of the texts in testdata/tokens, none of which the weights
// were fitted to, as OpenAI's tokenizer makes them with cl100k_base and o200k_base; and
// by how much the estimates may be off, in percent.
var counted = map[string]struct {
	small, large int64
	off          float64
}{
	"arabic":   {138, 53, 30},
	"chat":     {54, 49, 6},
	"chinese":  {69, 50, 12},
	"code":     {143, 143, 6},
	"data":     {202, 203, 6},
	"english":  {124, 123, 6},
	"french":   {78, 68, 24},
	"german":   {76, 60, 6},
	"japanese": {101, 66, 10},
	"manual":   {102, 102, 7},
	"russian":  {101, 53, 26},
}

func percent(estimate, count int64) float64 { return 100 * (float64(estimate)/float64(count) - 1) }

// The estimate is near the true count, and on the whole much nearer than four bytes to
// a token. What ARCHITECTURE.md says of the errors is what this prints.
func TestTokens(t *testing.T) {
	files, err := filepath.Glob("testdata/tokens/*.txt")
	if err != nil || len(files) != len(counted) {
		t.Fatalf("%d files, %d counts, %v", len(files), len(counted), err)
	}
	var ours, plain [2]float64
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		want := counted[name]
		for i, of := range []struct {
			model string
			count int64
		}{{small, want.small}, {large, want.large}} {
			off, guess := percent(Tokens(of.model, string(data)), of.count), percent(EstimateTokens(len(data)), of.count)
			if math.Abs(off) > want.off {
				t.Errorf("%s for %s: off by %.1f %%, at most %.0f %% are right", name, of.model, off, want.off)
			}
			ours[i], plain[i] = ours[i]+math.Abs(off)/float64(len(files)), plain[i]+math.Abs(guess)/float64(len(files))
			t.Logf("%-9s %-7s %4d tokens, off by %+5.1f %% (four bytes each: %+5.1f %%)", name, of.model, of.count, off, guess)
		}
	}
	for i := range ours {
		t.Logf("on average off by %.1f %% (four bytes each: %.1f %%)", ours[i], plain[i])
		if ours[i] > 10 || ours[i]*2 > plain[i] {
			t.Errorf("on average off by %.1f %%", ours[i])
		}
	}
}

// OpenAI's cookbook, "How to count tokens with tiktoken", tells these.
func TestTokensOfTheCookbook(t *testing.T) {
	for text, want := range map[string][2]int64{
		"antidisestablishmentarianism": {6, 6},
		"2 + 2 = 4":                    {7, 7},
		"お誕生日おめでとう":                    {9, 8},
	} {
		for i, model := range []string{small, large} {
			if got := Tokens(model, text); got < want[i]-2 || got > want[i]+2 {
				t.Errorf("%q for %s: %d tokens, %d are right", text, model, got, want[i])
			}
		}
	}
}

func TestTokensOfNothing(t *testing.T) {
	if n := Tokens("", ""); n != 0 {
		t.Errorf("nothing has %d tokens", n)
	}
	for model, want := range map[string]int{"gpt-4": 0, "claude-sonnet-4-5": 0, "openai/gpt-4o-mini": 1, "google/gemini-2.5-flash": 1, "": 0} {
		if got := vocabulary(model); got != want {
			t.Errorf("%q has vocabulary %d", model, got)
		}
	}
}

// Whatever comes, more text has not fewer tokens, and no byte has more than a few.
func FuzzTokens(f *testing.F) {
	for _, s := range []string{"", "hello there", "\xff\xfe", "ÄÖÜ日本🙂", "a1b2-c3\n\n\t x", strings.Repeat("A", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, model := range []string{small, large} {
			n := Tokens(model, s)
			if n < 0 || n > 1+3*int64(len(s)) || len(s) > 0 && s != strings.Repeat(" ", len(s)) && n < 1 {
				t.Errorf("%q has %d tokens", s, n)
			}
		}
	})
}

func BenchmarkTokens(b *testing.B) {
	text := strings.Repeat("The plumber comes on Thursday at 14:30, and he needs about two hours. ", 100)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Tokens(small, text)
	}
}
