// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"fmt"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// What goes along with a question once is a block of its own, behind the mark: the next
// question, which lacks it, is read from the cache up to there all the same.
func TestNotesStandBehindTheMark(t *testing.T) {
	r := newRig(t)
	r.fake.CacheFrom(1)
	r.fake.Always(fakellm.Answer{Text: []string{"yes"}})
	req := hello
	for n := range 4 {
		req.Messages = append([]llm.Message(nil), req.Messages...)
		last := &req.Messages[len(req.Messages)-1]
		last.Notes = fmt.Sprintf("known: %d", n)
		got, err := r.Complete(t.Context(), req, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, want := string(r.fake.Requests()[n].Body), mark+fmt.Sprintf(`},{"type":"text","text":"known: %d"}]`, n); !strings.Contains(body, want) {
			t.Fatalf("asked %s, want %s in it", body, want)
		}
		last.Notes = ""
		req.Messages = append(req.Messages, llm.Message{Role: llm.Assistant, Text: got.Text}, llm.Message{Role: llm.User, Text: strings.Repeat("and then? ", n+3)})
	}
	bills := r.fake.Bills()
	for i, b := range bills[1:] {
		if last := bills[i].Usage; b.Usage.CacheRead != last.CacheRead+last.CacheWrite || b.Usage.CacheWrite == 0 || b.Usage.Input == 0 {
			t.Errorf("turn %d read %d of the %d and %d in the cache, and paid %d in full", i+1, b.Usage.CacheRead, last.CacheRead, last.CacheWrite, b.Usage.Input)
		}
	}
}

// Nothing but notes is a message too.
func TestNotesAlone(t *testing.T) {
	q := translate(llm.Request{Messages: []llm.Message{{Role: llm.User, Notes: "known"}}})
	if len(q.Messages) != 1 || len(q.Messages[0].Content) != 1 || q.Messages[0].Content[0].CacheControl == nil {
		t.Errorf("%+v", q.Messages)
	}
}
