// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/tool"
)

// After the last round of tools the model is asked for an answer, with the same
// prompt but for the word that it is the last.
func TestLastRoundAnswers(t *testing.T) {
	r := newRig(t, func(_ context.Context, req llm.Request, _ func(string)) (llm.Response, error) {
		if !req.NoTools {
			return call("1", "time", `{}`), nil
		}
		return say("that is all I know"), nil
	})
	r.cfg.MaxRounds = 2
	r.start()
	if got := r.chat("s", "hello"); got.State != bus.StateAnswered || got.Text != "that is all I know" {
		t.Errorf("reply: %+v", got)
	}
	asked := r.model.asked()
	if len(asked) != 3 || asked[1].NoTools || len(asked[2].Tools) != len(asked[0].Tools) || !strings.Contains(last(asked[2]).Text, "No more tools") {
		t.Errorf("asked %d times, at last %+v", len(asked), last(asked[len(asked)-1]))
	}
}

// A model that says something beside a forbidden call has answered.
func TestLastRoundKeepsWhatWasSaid(t *testing.T) {
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		res := call("1", "time", `{}`)
		res.Text = "still looking"
		return res, nil
	})
	r.cfg.MaxRounds = 1
	r.start()
	if got := r.chat("s", "hello"); got.State != bus.StateAnswered || got.Text != "still looking" {
		t.Errorf("reply: %+v", got)
	}
}

// Each model call is booked for what caused it.
func TestPurposeNamesTheTools(t *testing.T) {
	long := strings.Repeat("long", 20)
	r := newRig(t, func(_ context.Context, req llm.Request, _ func(string)) (llm.Response, error) {
		switch len(req.Messages) {
		case 1:
			res := call("1", "time", `{}`)
			res.Calls = append(res.Calls, call("2", "time", `{}`).Calls[0], call("3", "recall", `{"query":"x"}`).Calls[0], call("4", "nonsense", `{}`).Calls[0])
			return res, nil
		case 3:
			return call("5", long, `{}`), nil
		}
		return say("done"), nil
	})
	r.model.name = "dear"
	r.setup = func(s *agent.Service) {
		s.Use(odd{long, func(context.Context, tool.Call) (tool.Result, error) { return tool.Result{Text: "ok"}, nil }})
	}
	r.start()
	r.chat("s", "hello")
	r.until("three calls are booked", func() bool { return len(facts(r, bus.CostRecorded)) == 3 })
	var got []string
	for _, f := range facts(r, bus.CostRecorded) {
		got = append(got, f.Purpose)
	}
	slices.Sort(got) // what is settled at the same time is booked in any order
	want := []string{"tool:" + long[:64-len("tool:")], "tool:time,recall,unknown", "turn"}
	if !slices.Equal(got, want) {
		t.Errorf("booked for\n%q, want\n%q", got, want)
	}
}

// What "hello" costs with every tool on offer, and that a cache finds the prompt's
// beginning again: it is the same bytes in every turn and after a restart.
func TestPromptIsSmallAndStable(t *testing.T) {
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		return say("Hello! " + strings.Repeat("What can I do for you today? ", 6)), nil
	})
	r.tools.Shell = []string{"date", "uptime", "df", "free"}
	r.start()
	for n := range 10 {
		if n == 5 {
			r.restart()
		}
		r.chat("s", "hello")
	}
	asked := r.model.asked()
	if n := len(asked[0].Tools); n != 10 {
		t.Errorf("%d tools are on offer", n)
	}
	for n, most := range map[int]int64{0: 1500, 9: 2500} {
		if got := llm.EstimateTokens(asked[n].Size()); got > most {
			t.Errorf("message %d: %d tokens, the bar is %d", n+1, got, most)
		} else {
			t.Logf("message %d: %d tokens", n+1, got)
		}
	}
	first := prefix(t, asked[0])
	for n, req := range asked {
		if got := prefix(t, req); got != first {
			t.Errorf("the beginning of message %d is another:\n%s\n%s", n+1, got, first)
		}
	}
}

func prefix(t *testing.T, r llm.Request) string {
	t.Helper()
	data, err := json.Marshal([]any{r.System, r.Tools})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
