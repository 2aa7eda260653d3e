// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/offline"
	"github.com/blufio/blufio/services/cost"
	"github.com/prometheus/client_golang/prometheus"
)

type completer = func(context.Context, llm.Request, func(string)) (llm.Response, error)

func failing(err error) completer {
	return func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		return llm.Response{}, err
	}
}

var unavailable = bus.Errorf(bus.CodeUnavailable, "the model is overloaded").WithHint("try later")

// several is a rig whose models are asked in this order; their names of models
// tell what they cost.
func several(t *testing.T, models ...*model) *rig {
	r := newRig(t, nil)
	r.costs.DailyUSD, r.costs.MonthlyUSD = 0, 0
	for _, m := range models {
		r.others.List = append(r.others.List, agent.Model{Provider: m})
	}
	return r
}

func named(provider, name string, complete completer) *model {
	return &model{provider: provider, name: name, complete: complete}
}

// What one model breaks off never counts: listeners are told that the text begins
// anew, both calls are booked, and the event names who answered.
func TestFallback(t *testing.T) {
	first := named("a", "dear", func(_ context.Context, _ llm.Request, delta func(string)) (llm.Response, error) {
		delta(strings.Repeat("half an answer ", 20))
		return llm.Response{Usage: bus.Usage{Input: 7}}, unavailable
	})
	second := named("b", "home", func(_ context.Context, _ llm.Request, delta func(string)) (llm.Response, error) {
		delta("whole")
		return say("whole"), nil
	})
	r := several(t, first, second)
	var mu sync.Mutex
	var deltas []bus.Delta
	ear := r.bus.Connect(t, "listener")
	if err := ear.Handle(t.Context(), bus.MessageDelta.To("gateway").On(func(_ context.Context, d bus.Delta) {
		mu.Lock()
		defer mu.Unlock()
		deltas = append(deltas, d)
	})); err != nil {
		t.Fatal(err)
	}
	r.start()
	if got := r.chat("s", "hello"); got.State != bus.StateAnswered || got.Text != "whole" {
		t.Fatalf("reply: %+v", got)
	}
	r.until("both texts are heard", func() bool { mu.Lock(); defer mu.Unlock(); return len(deltas) >= 2 })
	if a, b := deltas[0], deltas[len(deltas)-1]; a.Attempt != 1 || b.Attempt != 2 || b.N != 0 || b.Text != "whole" {
		t.Errorf("deltas: %+v", deltas)
	}
	r.until("both calls are booked", func() bool { return r.number(`SELECT count(*) FROM cost_ledger`) == 2 })
	if n := r.number(`SELECT count(*) FROM cost_ledger WHERE provider = 'a' AND model = 'dear' AND input = 7`); n != 1 {
		t.Error("the failed call is not booked on its provider")
	}
	done := facts(r, bus.TurnCompleted)
	if len(done) != 1 || done[0].Provider != "b" || done[0].Model != "home" || done[0].Rounds != 2 {
		t.Errorf("event: %+v", done)
	}
	if st := r.status(); st.Provider != "a" || st.Model != "dear" {
		t.Errorf("status: %+v", st)
	}
	r.chat("s", "/help")
	if done = facts(r, bus.TurnCompleted); done[1].Provider != "" || done[1].Rounds != 0 {
		t.Errorf("a command was answered by %+v", done[1])
	}
}

// What goes on to the next model, and what does not.
func TestWhatFallsBack(t *testing.T) {
	for name, c := range map[string]struct {
		model   string
		err     error
		prepare func(*rig)
		want    string // in the reply
	}{
		"retryable":     {"home", unavailable, nil, "echo hello"},
		"no credit":     {"home", bus.Errorf(bus.CodeDenied, "no credit"), nil, "echo hello"},
		"no such model": {"home", bus.Errorf(bus.CodeInvalid, "no such model"), nil, "echo hello"},
		"a defect":      {"home", errors.New("broken"), nil, "echo hello"},
		"no price":      {"new", nil, nil, "echo hello"},
		"no budget":     {"dear", nil, func(r *rig) { r.costs.DailyUSD = 0.001 }, "echo hello"},
		"refused":       {"home", llm.Refused(bus.Errorf(bus.CodeInvalid, "I will not")), nil, "I could not answer: I will not."},
		"no ledger":     {"home", nil, func(r *rig) { r.unledgered = true }, "I could not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := named("a", c.model, failing(c.err)), named("b", "home", echo)
			r := several(t, first, second)
			if c.prepare != nil {
				c.prepare(r)
			}
			r.start()
			got := r.chat("s", "hello")
			if !strings.Contains(got.Text, c.want) {
				t.Errorf("reply: %q, want %q", got.Text, c.want)
			}
			if strings.Contains(got.Text, "other model") {
				t.Errorf("more than one answers for it: %q", got.Text)
			}
			if percent := r.agent.SpentPercent(); (percent == 100) != (name == "no budget") {
				t.Errorf("%d %% are remembered as used", percent)
			}
			if n, want := len(second.asked()), strings.Count(c.want, "echo"); n != want {
				t.Errorf("the second was asked %d times, want %d", n, want)
			}
			if n := len(first.asked()); (n == 1) != (c.err != nil) {
				t.Errorf("the first was asked %d times", n)
			}
		})
	}
}

// The kill switch is for calls that cost money: a free model behind may answer.
func TestStoppedSpendingLeavesTheFree(t *testing.T) {
	r := several(t, named("a", "dear", echo), named("b", "home", echo)).start()
	if _, err := bus.SpendingSet.Ask(t.Context(), r.ask, bus.SpendingSwitch{Stopped: true}); err != nil {
		t.Fatal(err)
	}
	if got := r.chat("s", "hello"); got.Text != "echo hello" {
		t.Errorf("reply: %+v", got)
	}
}

func TestAllFail(t *testing.T) {
	no := failing(bus.Errorf(bus.CodeDenied, "no credit"))
	r := several(t, named("a", "home", failing(unavailable)), named("b", "new", echo), named("c", "home", no)).start()
	got := r.chat("s", "hello")
	if got.Text != "I could not answer: the model is overloaded; the 2 other models failed too. (try later)" {
		t.Errorf("reply: %q", got.Text)
	}
	if failed := facts(r, bus.TurnFailed); len(failed) != 1 || failed[0].Error != bus.CodeUnavailable || failed[0].Provider != "c" {
		t.Errorf("event: %+v", failed)
	}
	if n := r.agent.Door().Failures["turn"](); n != 1 {
		t.Errorf("%v turns are counted as errors", n)
	}
	var denied bool
	for _, p := range r.agent.Door().Health() {
		denied = denied || p.Code == "provider_denied" && strings.HasPrefix(p.Title, "c: no credit")
	}
	if !denied {
		t.Errorf("the owner is not told: %+v", r.agent.Door().Health())
	}
}

// One that hangs leaves time for the next, within the turn's deadline.
func TestFallbackFromSilence(t *testing.T) {
	r := several(t, named("a", "home", gate(nil)), named("b", "home", echo))
	r.cfg.TurnTimeout = 4 * time.Second // a quarter is for the second, also on a busy machine
	r.start()
	if got := r.chat("s", "hello"); got.Text != "echo hello" {
		t.Errorf("reply: %+v", got)
	}
}

// A turn's rounds stay with who answered, across a restart too; tool steps of one
// model are taken up by another.
func TestRoundsAndFallback(t *testing.T) {
	var dead, cut atomic.Bool
	stuck := make(chan struct{})
	first := named("a", "home", func(_ context.Context, _ llm.Request, _ func(string)) (llm.Response, error) {
		if dead.Swap(true) {
			return llm.Response{}, unavailable
		}
		return remember("1", "boiler"), nil
	})
	second := named("b", "home", func(ctx context.Context, req llm.Request, _ func(string)) (llm.Response, error) {
		res := last(req).Results
		switch {
		case len(res) == 1 && res[0].CallID == "1":
			return remember("1", "again the same id"), nil
		case !cut.Swap(true):
			close(stuck)
			<-ctx.Done()
			return llm.Response{}, ctx.Err()
		}
		return say("done"), nil
	})
	r := several(t, first, second)
	r.finish = 1
	r.start()
	r.send("s", "hello")
	<-stuck
	r.stopRoom()
	if n := len(first.asked()); n != 2 {
		t.Errorf("the first was asked %d times; after it failed the second is to be asked first", n)
	}
	r.startRoom()
	if got := r.wait(1)[0]; got.Text != "done" {
		t.Errorf("reply: %+v", got)
	}
	if done := facts(r, bus.TurnCompleted); len(done) != 1 || done[0].Provider != "b" || done[0].Tools != 2 {
		t.Errorf("event: %+v", done)
	}
	ids := map[string]bool{}
	asked := second.asked()
	for _, m := range asked[len(asked)-1].Messages {
		for _, c := range m.Calls {
			ids[c.ID] = true
		}
	}
	if len(ids) != 2 {
		t.Errorf("two calls have the ids %v", ids)
	}
}

func TestProviderDown(t *testing.T) {
	var up atomic.Bool
	m := named("a", "home", func(ctx context.Context, req llm.Request, delta func(string)) (llm.Response, error) {
		if up.Load() {
			return echo(ctx, req, delta)
		}
		return llm.Response{}, unavailable
	})
	r := several(t, m)
	r.cfg.BreakerFailures, r.cfg.BreakerPause = 2, time.Hour
	r.start()
	for range 2 {
		if got := r.chat("s", "hello"); !strings.Contains(got.Text, "overloaded") {
			t.Errorf("reply: %+v", got)
		}
	}
	got := r.chat("s", "hello")
	if !strings.Contains(got.Text, "a has not answered since") || !strings.Contains(got.Text, "is asked again from") || len(m.asked()) != 2 {
		t.Errorf("reply: %+v, asked %d times", got, len(m.asked()))
	}
	if msg := r.get(got.MessageID); msg.Error != bus.CodeUnavailable {
		t.Errorf("message: %+v", msg)
	}
	problems := r.agent.Door().Health()
	if len(problems) != 1 || problems[0].Code != "provider_down" || !strings.Contains(problems[0].Title, "a does not answer since") || problems[0].Hint != "try later" {
		t.Errorf("problems: %+v", problems)
	}
	r.until("it is told", func() bool { return len(facts(r, bus.ProviderDown)) == 1 })
	if f := facts(r, bus.ProviderDown)[0]; f.Provider != "a" || f.Failures != 2 || f.Error != bus.CodeUnavailable || f.Until.Sub(f.Time).Round(time.Minute) != time.Hour {
		t.Errorf("fact: %+v", f)
	}
	if v := gauge(t, r, "blufio_agent_provider_up", "a"); v != 0 {
		t.Errorf("gauge: %v", v)
	}
	up.Store(true)
	r.clock.add(time.Hour)
	if got := r.chat("s", "hello"); got.Text != "echo hello" {
		t.Errorf("reply: %+v", got)
	}
	r.until("it is told", func() bool { return len(facts(r, bus.ProviderUp)) == 1 })
	if f := facts(r, bus.ProviderUp)[0]; f.Provider != "a" || f.DownMS < time.Hour.Milliseconds() {
		t.Errorf("fact: %+v", f)
	}
	if v := gauge(t, r, "blufio_agent_provider_up", "a"); v != 1 || len(r.agent.Door().Health()) != 0 {
		t.Errorf("gauge: %v, problems: %+v", v, r.agent.Door().Health())
	}
}

// One that is down costs the others no time.
func TestDownIsSkipped(t *testing.T) {
	first, second := named("a", "home", failing(unavailable)), named("b", "home", echo)
	r := several(t, first, second)
	r.cfg.BreakerFailures = 3
	r.start()
	for range 6 {
		if got := r.chat("s", "hello"); got.Text != "echo hello" {
			t.Errorf("reply: %+v", got)
		}
	}
	if n := len(first.asked()); n != 3 {
		t.Errorf("it was asked %d times, want 3", n)
	}
}

// gauge reads one value of the room's metrics.
func gauge(t *testing.T, r *rig, name, label string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	for _, c := range r.agent.Door().Metrics {
		reg.MustRegister(c)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %s", name, label)
	return 0
}

func TestRouting(t *testing.T) {
	list, small, big := named("list", "dear", echo), named("small", "home", echo), named("big", "dear", echo)
	r := several(t, list)
	r.others.Simple, r.others.Complex = &agent.Model{Provider: small}, &agent.Model{Provider: big}
	r.costs.DailyUSD = 1
	r.start()
	session := 0
	seen := func(text string) string {
		t.Helper()
		session++
		if got := r.chat(numbered(session), text); got.State != bus.StateAnswered {
			t.Errorf("%s: %+v", text, got)
		}
		done := facts(r, bus.TurnCompleted)
		return done[len(done)-1].Provider
	}
	long := strings.Repeat("x", 500)
	for text, want := range map[string]string{"hello": "small", long: "list", "/think hello": "big", "please plan it": "big"} {
		if got := seen(text); got != want {
			t.Errorf("%.20s was answered by %s, want %s", text, got, want)
		}
	}
	if asked := big.asked(); asked[0].Messages[0].Text == "/think hello" {
		t.Error("the model reads the prefix")
	}
	// A failing first choice has the list behind it.
	r.agent.Spent(0)
	big.mu.Lock()
	big.complete = failing(unavailable)
	big.mu.Unlock()
	if got := seen("/think of it"); got != "list" {
		t.Errorf("answered by %s", got)
	}
	for percent, want := range map[int]string{79: "list", 80: "list", 95: "small", 100: "small"} {
		r.agent.Spent(percent)
		if got := seen("/think about it"); got != want {
			t.Errorf("at %d %%: answered by %s, want %s", percent, got, want)
		}
	}
	for percent, want := range map[int]string{79: "list", 80: "small"} {
		r.agent.Spent(percent)
		if got := seen(long); got != want {
			t.Errorf("at %d %%: answered by %s, want %s", percent, got, want)
		}
	}
	// What is remembered grows old, and the ledger is asked: next to nothing is spent.
	r.agent.Spent(100)
	r.clock.add(time.Hour)
	if got := seen(long); got != "list" {
		t.Errorf("answered by %s", got)
	}
}

// What was asked with /think is part of the conversation, without the prefix.
func TestThinkIsHistory(t *testing.T) {
	m := named("a", "home", echo)
	r := several(t, m).start()
	r.chat("s", "/think why?")
	r.chat("s", "/think")
	r.chat("s", "and then?")
	asked := m.asked()
	var got []string
	for _, m := range asked[len(asked)-1].Messages {
		got = append(got, m.Text)
	}
	if want := "why? | echo why? | and then?"; strings.Join(got, " | ") != want || len(asked) != 2 {
		t.Errorf("asked %d times, in the end %q", len(asked), got)
	}
}

// A conversation that is too long is halved until it fits; only a message that is
// too long by itself is told.
func TestTooLong(t *testing.T) {
	most := 1 << 20
	var mu sync.Mutex
	m := named("a", "home", func(ctx context.Context, req llm.Request, delta func(string)) (llm.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, m := range req.Messages {
			n += len(m.Text)
		}
		if n > most {
			return llm.Response{}, llm.TooLong(bus.Errorf(bus.CodeInvalid, "the conversation is too long"))
		}
		return say(strings.Repeat("r", 100)), nil
	})
	r := several(t, m)
	r.cfg.BreakerFailures = 1
	r.start()
	for range 16 {
		r.chat("s", strings.Repeat("q", 100))
	}
	for _, c := range []struct{ most, calls, messages int }{{2000, 2, 17}, {1000, 3, 9}, {500, 4, 5}, {250, 5, 1}} {
		mu.Lock()
		most = c.most
		mu.Unlock()
		before := len(m.asked())
		if got := r.chat("s", strings.Repeat("q", 100)); got.State != bus.StateAnswered {
			t.Errorf("at most %d: %+v", c.most, got)
		}
		r.exec(`DELETE FROM outbox`)
		r.exec(`DELETE FROM message WHERE seq = (SELECT max(seq) FROM message)`)
		asked := m.asked()
		if n := len(asked) - before; n != c.calls || len(asked[len(asked)-1].Messages) != c.messages {
			t.Errorf("at most %d: asked %d times, want %d, in the end with %d messages, want %d", c.most, n, c.calls, len(asked[len(asked)-1].Messages), c.messages)
		}
	}
	mu.Lock()
	most = 50
	mu.Unlock()
	got := r.chat("s", strings.Repeat("q", 100))
	if got.State != bus.StateFailed || !strings.Contains(got.Text, "too long") {
		t.Errorf("reply: %+v", got)
	}
	if len(r.agent.Door().Health()) != 0 {
		t.Errorf("a conversation that is too long is no outage: %+v", r.agent.Door().Health())
	}
}

// The providers that have series are those of the configuration. Who answers doctor is always
// up, and would hide that nobody else is.
func TestSeriesOfConfiguredProviders(t *testing.T) {
	a, without := agent.Model{Provider: named("a", "home", echo)}, agent.Model{Provider: offline.Provider{}}
	for name, c := range map[string]struct {
		models agent.Models
		want   []string
	}{
		"one":                {agent.Models{List: []agent.Model{a}}, []string{"a"}},
		"one, and of a tier": {agent.Models{List: []agent.Model{a}, Simple: &agent.Model{Provider: named("b", "home", echo)}}, []string{"a", "b"}},
		"without a model":    {agent.Models{List: []agent.Model{without}}, []string{"offline"}},
		"one, then without":  {agent.Models{List: []agent.Model{a, without}}, []string{"a", "offline"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.others, r.costs.Prices[offline.Name] = c.models, cost.Price{Free: true}
			r.start()
			doctor, err := r.trySend(bus.Message{Channel: bus.DoctorChannel, Owner: bus.DoctorChannel, Session: "s", Text: "this is a check"})
			if err != nil {
				t.Fatal(err)
			}
			r.until("doctor is answered", func() bool { return r.get(doctor.ID).State == bus.StateAnswered })
			series := scrape(t, r.agent)
			for metric, value := range map[string]float64{"blufio_agent_provider_up": 1, "blufio_agent_provider_failures_total": 0} {
				var got []string
				for name, v := range series {
					if provider, ok := strings.CutPrefix(name, metric+" "); ok {
						got = append(got, provider)
						if v != value {
							t.Errorf("%s is %v", name, v)
						}
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("%s is of %v, want %v", metric, got, c.want)
				}
			}
		})
	}
}
