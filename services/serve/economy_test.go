// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
)

// wire is a vendor's, as this test looks at it.
type wire struct {
	name  string
	start func(t *testing.T) tap
}

// tap is a vendor that counts what goes over its wire.
type tap struct {
	url    string
	reply  func(func(fakellm.Question) fakellm.Answer)
	bills  func() []fakellm.Bill
	bodies func() (bodies [][]byte, tokens []int64)
}

var wires = []wire{
	{"anthropic", func(t *testing.T) tap {
		f := fakellm.NewAnthropic(t)
		f.CacheFrom(1)
		return tap{f.URL(), f.Reply, f.Bills, func() (bodies [][]byte, tokens []int64) {
			for _, r := range f.Requests() {
				bodies, tokens = append(bodies, r.Body), append(tokens, r.PromptTokens())
			}
			return bodies, tokens
		}}
	}},
	{"openai", func(t *testing.T) tap {
		f := fakellm.NewOpenAI(t)
		f.CacheFrom(1)
		return tap{f.URL(), f.Reply, f.Bills, func() (bodies [][]byte, tokens []int64) {
			for _, r := range f.Requests() {
				bodies, tokens = append(bodies, r.Body), append(tokens, r.PromptTokens())
			}
			return bodies, tokens
		}}
	}},
}

// talk has a conversation of so many turns with a whole daemon that has every tool.
// summary, if there is one, is what the model makes of a conversation.
func (w wire) talk(t *testing.T, turns int, said func(n int) string, reply string, summary func(asked string) string) tap {
	t.Helper()
	fake := w.start(t)
	fake.reply(func(q fakellm.Question) fakellm.Answer {
		if len(q.Tools) == 0 {
			return fakellm.Answer{Text: strings.SplitAfter(summary(q.Text), " "), Metered: true}
		}
		return fakellm.Answer{Text: strings.SplitAfter(reply, " "), Metered: true}
	})
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider = []string{w.name}
		if summary == nil {
			cfg.Agent.CompactUSD = 0
		}
		cfg.Anthropic.BaseURL, cfg.OpenAI.BaseURL = fake.url, fake.url
		cfg.Tools.Shell = []string{"date", "uptime"}
	})
	for n := range turns {
		if m := say(t, c, said(n)); m.State != bus.StateAnswered || m.Reply != reply {
			t.Fatalf("turn %d: %+v", n, m)
		}
	}
	return fake
}

// A word costs few tokens, and most of them are ones that the provider has seen.
func TestHelloCostsFewTokens(t *testing.T) {
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			fake := w.talk(t, 20, func(int) string { return "hello" }, "Hello! What can I do for you?", nil)
			bodies, tokens := fake.bodies()
			if len(tokens) != 20 {
				t.Fatalf("asked %d times", len(tokens))
			}
			if tokens[0] > 1500 || tokens[9] > 2500 {
				t.Errorf("the first costs %d tokens, the tenth %d", tokens[0], tokens[9])
			}
			share := fakellm.SeenShare(fake.bills())
			if share < 0.9 {
				t.Errorf("%.1f %% of what was asked had been asked before", 100*share)
			}
			t.Logf("the first costs %d tokens, the tenth %d; seen before: %.1f %%", tokens[0], tokens[9], 100*share)
			first := beginning(t, bodies[0])
			for n, b := range bodies {
				if !bytes.Equal(beginning(t, b), first) {
					t.Fatalf("question %d begins otherwise than the first", n)
				}
			}
		})
	}
}

// beginning is what every question of an agent has in common, byte for byte: its
// tools and its system prompt.
func beginning(t *testing.T, body []byte) []byte {
	t.Helper()
	var q struct {
		Tools, System json.RawMessage
		Messages      []json.RawMessage
	}
	if err := json.Unmarshal(body, &q); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(q.Tools, []byte(`"description":"`)); n < 8 || !bytes.Contains(q.Tools, []byte(`"shell"`)) || len(q.Messages) == 0 {
		t.Fatalf("not every tool is on offer, or there is no message, in %s", body)
	}
	if q.System == nil { // OpenAI's is the first message
		q.System = q.Messages[0]
	}
	return append(q.Tools, q.System...)
}

// A conversation that outgrows what goes along, and cannot be summarised, stays within that, and yet most of
// each question has been asked before, because its window moves in large steps. One
// that moved with every turn would have only its tools and instructions known.
func TestLongConversationIsMostlySeen(t *testing.T) {
	const turns = 60
	long := func(n int) string { return fmt.Sprintf("%d: ", n) + strings.Repeat("tell me more of this ", 30) } // 160 tokens
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			fake := w.talk(t, turns, long, strings.Repeat("there is a lot to say about that ", 30), nil) // 250 tokens
			bodies, tokens := fake.bodies()
			static := int64(len(beginning(t, bodies[0]))) / 4
			budget := Defaults().Agent.HistoryTokens
			moved := 0
			for n, got := range tokens {
				if most := static + budget*11/10 + 300; got > most { // a tenth for the wire's own bytes, and the question
					t.Errorf("question %d has %d tokens, at most %d are right", n, got, most)
				}
				if n > 0 && got < tokens[n-1] {
					moved++
				}
			}
			if moved < 5 || moved > turns/4 {
				t.Errorf("the window moved %d times", moved)
			}
			share := fakellm.SeenShare(fake.bills())
			if share < 0.75 {
				t.Errorf("%.1f %% of what was asked had been asked before", 100*share)
			}
			t.Logf("%d tokens of tools and instructions, the window moved %d times, seen before: %.1f %%", static, moved, 100*share)
		})
	}
}

// weighted is what bills are in tokens that are paid in full: as vendors weigh them,
// what a cache knew is a tenth, and what it learns a quarter more.
func weighted(bills []fakellm.Bill) (n float64) {
	for _, b := range bills {
		n += float64(b.Usage.Input) + .1*float64(b.Usage.CacheRead) + 1.25*float64(b.Usage.CacheWrite)
	}
	return n
}

var threeDigits = regexp.MustCompile(`\b\d{3}\b`)

// numbered makes a summary with the latest numbers of what it is made of.
func numbered(asked string) string {
	found := threeDigits.FindAllString(asked, -1)
	return "They spoke of these: " + strings.Join(found[max(0, len(found)-80):], ", ") + "."
}

// With summaries a long conversation costs a fraction of what all of it would, summaries
// included, and each number that was said is with the model for long.
func TestLongConversationIsSummarised(t *testing.T) {
	const turns = 120
	said := func(n int) string {
		return fmt.Sprintf("The parcel with number %d has come and lies in the hall, please keep that in mind for when somebody asks.", 100+n)
	}
	reply := strings.Repeat("there is a lot to say about that ", 10)
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			fake := w.talk(t, turns, said, reply, numbered)
			bodies, tokens := fake.bodies()
			summaries, asked, whole := 0, int64(0), int64(0)
			var last []byte
			for n, b := range bodies {
				asked += tokens[n]
				if !bytes.Contains(b, []byte(`"tools"`)) {
					summaries++
					continue
				}
				last = b
			}
			static := int64(len(beginning(t, bodies[0]))) / 4
			exchange := int64(len(said(0))+len(reply)+60) / 4 // with the wire's own
			for n := range int64(turns) {
				whole += static + exchange*(n+1)
			}
			saved := 100 * (1 - float64(asked)/float64(whole))
			full := weighted(fake.bills()) / turns
			t.Logf("%d summaries; %d tokens a turn, %.0f weighted; %.1f %% below the full history", summaries, asked/turns, full, saved)
			if summaries < 3 || summaries > turns/6 || full > 3000 || saved < 50 {
				t.Errorf("it costs more than it should")
			}
			if !bytes.Contains(last, []byte("summary of our conversation")) || !bytes.Contains(last, []byte(" 160,")) {
				t.Errorf("the last question is %s", last)
			}
		})
	}
}
