// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

func TestParseFacts(t *testing.T) {
	const fact = `{"text":"Ann likes tea","about":"","importance":0.5}`
	for name, c := range map[string]struct {
		answer string
		n      int // -1: it is refused
	}{
		"one":             {fact, 1},
		"two":             {fact + "\n\n  " + fact + "\n", 2},
		"fenced":          {"```json\n" + fact + "\n```", 1},
		"nothing":         {" Nothing. \n", 0},
		"twenty-one":      {strings.Repeat(fact+"\n", 21), 20},
		"empty":           {"", -1},
		"words":           {"Here are the facts:\n" + fact, -1},
		"array":           {"[" + fact + "]", -1},
		"null":            {"null", -1},
		"two on a line":   {fact + fact, -1},
		"unknown field":   {`{"text":"x","owner":"bob"}`, -1},
		"no text":         {`{"text":" ","importance":0.5}`, -1},
		"long text":       {`{"text":"` + strings.Repeat("x", 1025) + `"}`, -1},
		"heavy":           {`{"text":"x","importance":1.01}`, -1},
		"below nothing":   {`{"text":"x","importance":-1}`, -1},
		"not UTF-8":       {"{\"text\":\"\xff\"}", -1},
		"endless":         {strings.Repeat(fact+"\n", 700), -1},
		"nothing and one": {"NOTHING\n" + fact, -1},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseFacts(c.answer)
			if c.n < 0 && bus.CodeOf(err) != bus.CodeInvalid || c.n >= 0 && (err != nil || len(got) != c.n) {
				t.Errorf("%d facts, %v, want %d", len(got), err, c.n)
			}
		})
	}
	got, err := parseFacts(`{"text":" Ann\nlikes\t\u2028tea ","about":"drink\u0000s","importance":1}`)
	if err != nil || got[0].Text != "Ann likes tea" || got[0].About != "drink s" || got[0].Importance != mostExtracted {
		t.Errorf("%+v, %v", got, err)
	}
}

// Whatever a model says, what is made of it is what recall takes.
func FuzzParseFacts(f *testing.F) {
	for _, s := range []string{"", "NOTHING", `{"text":"x"}`, "{\"text\":\"x\"}\n{", "```\n```", `{"text":1}`, `{"text":"\ud800"}`, "{}", `{"importance":1e999}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		got, err := parseFacts(answer)
		if err != nil && bus.CodeOf(err) != bus.CodeInvalid || len(got) > maxExtracted {
			t.Errorf("%d facts, %v", len(got), err)
		}
		for _, e := range got {
			if strings.TrimSpace(e.Text) == "" || len(e.Text) > maxExtractedText || len(e.About) > bus.RecallMaxAbout || !(e.Importance >= 0 && e.Importance <= mostExtracted) {
				t.Errorf("%+v", e)
			}
			if strings.ContainsAny(e.Text+e.About, "\n\r\x00") {
				t.Errorf("%+v", e)
			}
		}
	})
}
