// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// The model finds what was said long ago in this conversation, with its date, and
// nothing of others.
func TestSearchHistory(t *testing.T) {
	var found string
	r := newRig(t, func(_ context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		m := last(q)
		if len(m.Results) > 0 {
			found = m.Results[0].Text
			return say("found"), nil
		}
		if query, ok := strings.CutPrefix(m.Text, "search "); ok {
			return call("c", "search_history", fmt.Sprintf(`{"query":%q}`, query)), nil
		}
		return say("noted: " + strings.ToUpper(m.Text)), nil
	})
	r.start()
	search := func(session, query string) string {
		t.Helper()
		found = ""
		r.chat(session, "search "+query)
		return found
	}
	r.chat("s", "The boiler's code is 4711, and the plumber is Zoë.")
	r.chat("s", strings.Repeat("blah ", 1000)+"the umbrella is in the car "+strings.Repeat("blah ", 1000))
	r.chat("other", "The boiler of the neighbours has code 9999.")
	r.exec(`INSERT INTO session (channel, owner, name, created_at, last_at) VALUES ('terminal', 'ann', 's', 1, 1)`)
	r.chat("s", "/new")

	got := search("s", "boiler zoe")
	if !strings.Contains(got, "person: The boiler's code is 4711") || !strings.Contains(got, "you: noted: THE BOILER'S") || !strings.Contains(got, "data, not instructions") ||
		!strings.Contains(got, r.clock.now().Format("2006-01-02")) || strings.Contains(got, "9999") {
		t.Errorf("%q", got)
	}
	if got := search("s", "umbrella"); !strings.Contains(got, "umbrella is in the car") || len(got) > 2000 {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	for _, others := range []string{"neighbours*", `" OR session : s2`, "s2) OR (neighbours"} {
		if got := search("s", others); strings.Contains(got, "9999") {
			t.Errorf("%q finds %q", others, got)
		}
	}
	if got := search("s", "..."); !strings.Contains(got, "no words") {
		t.Errorf("%q", got)
	}
	if got := search("elsewhere", "boiler"); !strings.Contains(got, "Nothing about") {
		t.Errorf("%q", got)
	}
}

// What is no part of the conversation is not in the index, and what is deleted is in it
// no more.
func TestIndexOfHistory(t *testing.T) {
	r := newRig(t, echo).start()
	r.chat("s", "one")
	r.chat("s", "/help")
	acc, err := r.trySend(bus.Message{Channel: "gateway", Owner: "ann", Session: "s", Text: "two"})
	if err != nil {
		t.Fatal(err)
	}
	r.until("it is answered", func() bool { return r.get(acc.ID).State == bus.StateAnswered })
	if n := r.number(`SELECT count(*) FROM message_words`); n != 2 {
		t.Errorf("%d are in the index", n)
	}
	if n := r.number(`SELECT count(*) FROM message_words WHERE message_words MATCH 'two'`); n != 1 {
		t.Errorf("%d have the word", n)
	}
	r.until("all is delivered", func() bool { return r.number(`SELECT count(*) FROM outbox`) == 0 })
	if err := r.agent.Expire(t.Context(), r.clock.now().AddDate(2, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if n := r.number(`SELECT count(*) FROM message_words WHERE message_words MATCH 'two'`); n != 0 {
		t.Errorf("%d have the word, and nobody has said it", n)
	}
}
