// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// The transcripts in testdata have the form of the vendor's documents, which each
// of them names.
func TestTranscripts(t *testing.T) {
	for name, c := range map[string]struct {
		text, calls string // calls as JSON
		usage       bus.Usage
		fails       string
	}{
		"text":     {"The boiler is warm.", "null", bus.Usage{Input: 21, Output: 9}, ""},
		"tool_use": {"I'll look that up.", `[{"id":"toolu_01Recall","name":"recall","input":{"query":"boiler"}},{"id":"toolu_01Time","name":"time","input":{}}]`, bus.Usage{Input: 412, Output: 78}, ""},
		"thinking": {"Four.", "null", bus.Usage{Input: 60, Output: 31}, ""},
		"cache":    {"Again.", "null", bus.Usage{Input: 3, CacheRead: 4096, CacheWrite: 250, Output: 4}, ""},
		"error":    {"", "null", bus.Usage{Input: 30, Output: 6}, "is overloaded"},
		"refusal":  {"", "null", bus.Usage{Input: 40, Output: 5}, "the model refused: This is not something I help with."},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name+".sse"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), ": Format: ") {
				t.Error("it does not name the document")
			}
			r := newRig(t)
			r.fake.Script(fakellm.Answer{Raw: string(data)})
			got, streamed, err := r.ask(t)
			var e *bus.Error
			if (c.fails == "") != (err == nil) || err != nil && (!errors.As(err, &e) || !strings.Contains(e.Message, c.fails)) {
				t.Fatal(err)
			}
			calls, err := json.Marshal(got.Calls)
			if err != nil {
				t.Fatal(err)
			}
			if got.Text != c.text || string(calls) != c.calls || got.Usage != c.usage {
				t.Errorf("%q, %s, %+v", got.Text, calls, got.Usage)
			}
			if c.fails == "" && (streamed != c.text || got.Model != "claude-haiku-4-5-20251001") {
				t.Errorf("streamed %q, model %s", streamed, got.Model)
			}
			if n := len(r.fake.Requests()); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
