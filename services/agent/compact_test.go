// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// writer is a model that answers people with "ok N", and is asked for summaries beside.
type writer struct {
	write func(ctx context.Context, q llm.Request) (llm.Response, error)

	mu        sync.Mutex
	summaries []llm.Request
	questions []llm.Request
}

func isSummary(q llm.Request) bool { return strings.Contains(q.System, "keep the memory") }

func (w *writer) complete(ctx context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
	w.mu.Lock()
	if isSummary(q) {
		w.summaries = append(w.summaries, q)
		write := w.write
		w.mu.Unlock()
		return write(ctx, q)
	}
	w.questions = append(w.questions, q)
	n := len(w.questions)
	w.mu.Unlock()
	return say(fmt.Sprint("ok ", n, " ", strings.Repeat("and so on ", 8))), nil
}

func (w *writer) asked() (questions, summaries []llm.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.questions), slices.Clone(w.summaries)
}

func (w *writer) writes(write func(ctx context.Context, q llm.Request) (llm.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write = write
}

var digits = regexp.MustCompile(`\b\d{3}\b`)

// honest keeps every number of three digits that it is told of, and nothing else.
func honest(_ context.Context, q llm.Request) (llm.Response, error) {
	seen := map[string]bool{}
	var kept []string
	for _, d := range digits.FindAllString(q.Messages[0].Text, -1) {
		if !seen[d] {
			seen[d] = true
			kept = append(kept, d)
		}
	}
	return say("Spoken of: " + strings.Join(kept, " ")), nil
}

// compacting is a rig whose conversations are summarised from 280 tokens on, before a
// turn from 400.
func compacting(t *testing.T) (*rig, *writer) {
	w := &writer{write: honest}
	r := newRig(t, w.complete)
	r.cfg.HistoryTokens, r.cfg.CompactUSD, r.cfg.CompactSoft = 400, 1, .7 // a turn or two before it has to be
	return r, w
}

// told is what a person says: some 40 tokens with the answer, and one number.
func told(n int) string { return fmt.Sprintf("my locker at the gym has number %d now", 100+n) }

// tell says so many things, one after another.
func (r *rig) tell(session string, from, to int) {
	r.t.Helper()
	for n := from; n < to; n++ {
		r.chat(session, told(n))
	}
}

// calmly says something, and waits until a summary that it led to is there or is not.
func (r *rig) calmly(session, text string) {
	r.t.Helper()
	r.chat(session, text)
	r.until("no summary is being made", r.calm)
}

// calm reports that the turns are over, with all that they led to.
func (r *rig) calm() bool {
	sessions, _ := r.agent.Remembered()
	return sessions == 0 && r.agent.Compacting() == 0
}

// heldUp says things, from number sent on, until a summary of them is begun, and returns
// the next number.
func (r *rig) heldUp(session string, sent int, began <-chan struct{}) int {
	r.t.Helper()
	for held := false; !held; sent++ {
		r.chat(session, told(sent))
		r.until("a summary is begun, or none is called for", func() bool {
			select {
			case <-began:
				held = true
			default:
			}
			return held || r.calm()
		})
	}
	return sent
}

// outcomes counts compactions, as "soft/made 2 hard/failed 1".
func (r *rig) outcomes() string {
	r.t.Helper()
	var out []string
	for _, f := range r.gather() {
		if f.GetName() != "blufio_context_compactions_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if n := m.GetCounter().GetValue(); n > 0 { // labels are sorted by name: outcome, when
				out = append(out, fmt.Sprint(m.GetLabel()[1].GetValue(), "/", m.GetLabel()[0].GetValue(), " ", n))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (r *rig) compacted(want string) {
	r.t.Helper()
	r.until("compactions are "+want, func() bool { return r.outcomes() == want })
}

func lines(q llm.Request) (out []string) {
	for _, m := range q.Messages {
		out = append(out, m.Text)
	}
	return out
}

// A conversation that has grown gets a summary of its older part, behind a turn. Models
// read that and the latest exchanges; the next summary folds it in; and everything that
// was said is still there.
func TestCompaction(t *testing.T) {
	r, w := compacting(t)
	r.start()
	sent := 0
	until := func(summaries int64) {
		for r.number(`SELECT count(*) FROM event WHERE subject LIKE '%context.compacted'`) < summaries {
			r.chat("s", told(sent))
			if sent++; sent > 60 {
				t.Fatalf("%d turns, and compactions are %q", sent, r.outcomes())
			}
		}
	}
	until(1)
	r.chat("s", "what is my number?")
	questions, summaries := w.asked()
	got := lines(questions[len(questions)-1])
	if !strings.Contains(got[0], "summary of our conversation") || !strings.Contains(got[0], "100") || len(got) > 13 || questions[len(questions)-1].Messages[1].Role != llm.Assistant {
		t.Errorf("the model reads %q", got)
	}
	if q := summaries[0]; len(q.Tools) != 0 || !strings.Contains(q.Messages[0].Text, told(0)) {
		t.Errorf("the summary is asked for with %+v", q)
	}
	f := facts(r, bus.ContextCompacted)[0]
	if f.FromSeq != 1 || f.Exchanges < 3 || f.ToSeq != f.FromSeq+int64(f.Exchanges)-1 || f.TokensAfter >= f.TokensBefore || f.Tries != 1 || f.Before || f.Model != "home" || len(f.Calls) != 1 || f.InputTokens != 10 || f.Session != "s" {
		t.Errorf("%+v", f)
	}
	r.until("it is booked", func() bool { return r.number(`SELECT count(*) FROM cost_ledger WHERE purpose = 'summary'`) >= 1 })

	until(3)
	r.restart()
	r.chat("s", "and now?")
	questions, summaries = w.asked()
	if last := summaries[2].Messages[0].Text; !strings.Contains(last, "What came before, in short:\nSpoken of: 100 ") {
		t.Errorf("the third summary is made of %q", last)
	}
	if got := lines(questions[len(questions)-1]); !strings.Contains(got[0], "100 101 102 ") {
		t.Errorf("after a restart the model reads %q", got)
	}
	h, err := bus.AgentHistory.Ask(t.Context(), r.ask, bus.HistoryQuery{Channel: "gateway", Owner: "ann", Session: "s", Limit: 500})
	if err != nil || len(h.Messages) != sent+2 || h.Messages[0].Text != told(0) {
		t.Errorf("%d of %d messages are there, %v", len(h.Messages), sent+2, err)
	}
	if got := r.status().Context; got.Summaries != 1 {
		t.Errorf("%+v", got)
	}
}

// Between two summaries each question begins with all of the one before, byte for byte.
func TestQuestionsBeginAlike(t *testing.T) {
	r, w := compacting(t)
	r.start()
	r.tell("s", 0, 40)
	questions, _ := w.asked()
	anew := 0
	for n := 1; n < len(questions); n++ {
		before, now := questions[n-1], questions[n]
		if now.System != before.System || fmt.Sprint(now.Tools) != fmt.Sprint(before.Tools) {
			t.Fatalf("question %d has other instructions", n)
		}
		if !slices.Equal(lines(before), lines(now)[:min(len(now.Messages), len(before.Messages))]) {
			anew++
		}
	}
	if made := len(facts(r, bus.ContextCompacted)); anew > made || made < 3 {
		t.Errorf("%d of %d questions do not begin with the one before; there were %d summaries", anew, len(questions), made)
	}
}

// Beyond the hard bound the summary is made before the turn, which reads it: here the
// one in the background has failed.
func TestCompactionBeforeTheTurn(t *testing.T) {
	r, w := compacting(t)
	r.cfg.CompactSoft = 1
	w.writes(func(context.Context, llm.Request) (llm.Response, error) {
		return llm.Response{}, bus.Errorf(bus.CodeInvalid, "not now")
	})
	r.start()
	sent := 0
	for ; r.outcomes() == ""; sent++ {
		r.calmly("s", told(sent))
	}
	w.writes(honest)
	r.calmly("s", told(sent))
	if got := r.outcomes(); got != "hard/made 1 soft/failed 1" {
		t.Errorf("compactions are %q", got)
	}
	questions, _ := w.asked()
	if got := lines(questions[sent]); !strings.Contains(got[0], "Spoken of: 100") || got[len(got)-1] != told(sent) {
		t.Errorf("the turn that waited for the summary reads %q", got)
	}
	if f := facts(r, bus.ContextCompacted); len(f) != 1 || !f[0].Before || f[0].TokensAfter >= f[0].TokensBefore {
		t.Errorf("%+v", f)
	}
}

// A summary that drops a number is asked for again, with what it lacks.
func TestSummaryIsJudged(t *testing.T) {
	r, w := compacting(t)
	w.writes(func(ctx context.Context, q llm.Request) (llm.Response, error) {
		if len(q.Messages) == 1 {
			return say("They spoke of lockers."), nil
		}
		return honest(ctx, q)
	})
	r.start()
	for n := 0; len(facts(r, bus.ContextCompacted)) == 0; n++ {
		r.chat("s", told(n))
		if n > 30 {
			t.Fatalf("compactions are %q", r.outcomes())
		}
	}
	_, summaries := w.asked()
	if len(summaries) < 2 || len(summaries[1].Messages) != 3 || !strings.Contains(summaries[1].Messages[2].Text, `"100"`) || summaries[1].Messages[1].Text != "They spoke of lockers." {
		t.Fatalf("asked again with %+v", summaries[len(summaries)-1])
	}
	if f := facts(r, bus.ContextCompacted)[0]; f.Tries != 2 || len(f.Calls) != 2 || f.InputTokens != 20 {
		t.Errorf("%+v", f)
	}
	r.until("both are booked", func() bool { return r.number(`SELECT count(*) FROM cost_ledger WHERE purpose = 'summary'`) >= 2 })
}

// One that lacks it again is not taken: the conversation stays whole, and nobody is
// asked again before it has grown. What is too much for the budget is not read any
// more, as without summaries; it is still told to the next one.
func TestUnfaithfulSummaryIsNotTaken(t *testing.T) {
	r, w := compacting(t)
	r.cfg.CompactHard, r.cfg.CompactSoft = 1, .5
	w.writes(func(context.Context, llm.Request) (llm.Response, error) { return say("They spoke of lockers."), nil })
	r.start()
	sent := 0
	for ; r.outcomes() == ""; sent++ {
		r.calmly("s", told(sent))
	}
	r.compacted("soft/kept_whole 1")
	_, summaries := w.asked()
	r.calmly("s", told(sent))
	questions, again := w.asked()
	if got := lines(questions[len(questions)-1]); got[0] != told(0) || len(again) != len(summaries) {
		t.Errorf("the model reads %q; asked for summaries %d times, then %d", got, len(summaries), len(again))
	}
	sent++
	for n := 0; n < 20; n++ {
		r.calmly("s", told(sent))
		sent++
	}
	questions, _ = w.asked()
	if got := lines(questions[len(questions)-1]); got[0] == told(0) || strings.Contains(got[0], "summary") {
		t.Errorf("the window did not move: %q", got)
	}
	if n := r.number(`SELECT count(*) FROM summary`); n != 0 {
		t.Errorf("%d summaries", n)
	}
	w.writes(honest)
	for n := 0; len(facts(r, bus.ContextCompacted)) == 0 && n < 30; n++ {
		r.calmly("s", told(sent))
		sent++
	}
	if f := facts(r, bus.ContextCompacted); len(f) == 0 || f[0].Exchanges < 12 { // the window has room for nine
		t.Errorf("what the window had left behind is not in the summary: %+v", f)
	}
}

// Without a provider, or without money, the window moves on as it does without
// summaries, and turns go on.
func TestCompactionFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r *rig, w *writer)
		fails func(outcomes string) bool
	}{
		"the provider is down": {func(_ *rig, w *writer) {
			w.writes(func(context.Context, llm.Request) (llm.Response, error) {
				return llm.Response{}, bus.Errorf(bus.CodeInvalid, "no such model")
			})
		}, func(o string) bool { return strings.Contains(o, "/failed") }},
		"it panics": {func(_ *rig, w *writer) {
			w.writes(func(context.Context, llm.Request) (llm.Response, error) { panic("boom") })
		}, func(o string) bool { return strings.Contains(o, "/failed") }},
		"its budget is spent": {func(r *rig, _ *writer) { r.model.name, r.cfg.CompactUSD = "dear", 0.000001 }, func(o string) bool { return strings.Contains(o, "/failed") }},
		"none are wanted":     {func(r *rig, _ *writer) { r.cfg.CompactUSD = 0 }, func(o string) bool { return o == "" }},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := compacting(t)
			c.spoil(r, w)
			r.start()
			r.tell("s", 0, 25)
			questions, _ := w.asked()
			if got := lines(questions[len(questions)-1]); len(questions) != 25 || got[0] == told(0) || strings.Contains(got[0], "summary") || len(got) < 3 {
				t.Errorf("%d questions, the last %q", len(questions), got)
			}
			r.until("it has failed", func() bool { return c.fails(r.outcomes()) })
		})
	}
}

// A stop does not wait for a summary, and loses nothing: it is made later.
func TestStopWhileSummarising(t *testing.T) {
	r, w := compacting(t)
	began := make(chan struct{}, 8)
	w.writes(func(ctx context.Context, _ llm.Request) (llm.Response, error) {
		began <- struct{}{}
		<-ctx.Done()
		return llm.Response{Usage: bus.Usage{Input: 77}}, ctx.Err()
	})
	r.start()
	sent := r.heldUp("s", 0, began)
	stopped := time.Now()
	r.stop()
	if took := time.Since(stopped); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	w.writes(honest)
	r.start()
	if n := r.number(`SELECT count(*) FROM summary`); n != 0 {
		t.Errorf("%d summaries", n)
	}
	r.until("what it used is booked", func() bool {
		return r.number(`SELECT count(*) FROM cost_ledger WHERE purpose = 'summary' AND input = 77`) == 1
	})
	for ; len(facts(r, bus.ContextCompacted)) == 0 && sent < 60; sent++ {
		r.chat("s", told(sent))
	}
	if f := facts(r, bus.ContextCompacted); len(f) == 0 || f[0].FromSeq != 1 {
		t.Errorf("%+v", f)
	}
}

// /new deletes the summary, also one that is being made.
func TestNewForgetsTheSummary(t *testing.T) {
	r, w := compacting(t)
	r.start()
	sent := 0
	for ; len(facts(r, bus.ContextCompacted)) == 0; sent++ {
		r.calmly("s", told(sent))
	}
	r.chat("s", "/new")
	if n := r.number(`SELECT count(*) FROM summary`); n != 0 {
		t.Errorf("%d summaries", n)
	}
	r.chat("s", "hello")
	questions, _ := w.asked()
	if got := lines(questions[len(questions)-1]); len(got) != 1 {
		t.Errorf("after /new the model reads %q", got)
	}
	began, goOn := make(chan struct{}, 8), make(chan struct{})
	w.writes(func(ctx context.Context, q llm.Request) (llm.Response, error) {
		began <- struct{}{}
		<-goOn
		return honest(ctx, q)
	})
	before := r.outcomes()
	r.heldUp("s", sent, began)
	r.chat("s", "/new")
	close(goOn)
	r.until("the summary is dropped", func() bool { return r.outcomes() != before && strings.Contains(r.outcomes(), "soft/dropped 1") })
	if n := r.number(`SELECT count(*) FROM summary`); n != 0 {
		t.Errorf("%d summaries", n)
	}
}

// A summary goes with the first message that it stands for, or what is to be deleted
// would live on in it.
func TestRetentionDeletesSummaries(t *testing.T) {
	r, _ := compacting(t)
	r.start()
	r.chat("s", told(0))
	first := r.clock.now()
	r.clock.add(48 * time.Hour)
	for sent := 1; len(facts(r, bus.ContextCompacted)) == 0; sent++ {
		r.calmly("s", told(sent))
	}
	r.chat("s", "hello")
	r.until("all is delivered", func() bool { return r.number(`SELECT count(*) FROM outbox`) == 0 })
	said := r.number(`SELECT count(*) FROM message`)
	for _, c := range []struct {
		at                  time.Time
		messages, summaries int64
	}{{first.Add(r.cfg.KeepHistory - time.Hour), said, 1}, {first.Add(r.cfg.KeepHistory + time.Hour), said - 1, 0}, {first.Add(r.cfg.KeepHistory + 96*time.Hour), 0, 0}} {
		if err := r.agent.Expire(t.Context(), c.at); err != nil {
			t.Fatal(err)
		}
		messages, summaries, words := r.number(`SELECT count(*) FROM message`), r.number(`SELECT count(*) FROM summary`), r.number(`SELECT count(*) FROM message_words`)
		if messages != c.messages || summaries != c.summaries || words != c.messages {
			t.Errorf("%d messages, %d summaries, %d in the index; want %d, %d", messages, summaries, words, c.messages, c.summaries)
		}
	}
	if got := r.shedding(bus.PressureWarn); got != 0 {
		t.Errorf("%d bytes of it in memory", got)
	}
}

// shedding asks the room to give up memory.
func (r *rig) shedding(level string) int64 {
	r.t.Helper()
	freed, err := bus.MemoryShed.To("agent").Ask(r.t.Context(), r.bus.Connect(r.t, "governor", bus.MemoryShed), bus.Shed{Pressure: level})
	if err != nil {
		r.t.Fatal(err)
	}
	return freed.Bytes
}

// Summaries in memory are bounded, and given up when memory is short; then they are
// read again.
func TestSummariesAreShed(t *testing.T) {
	r, w := compacting(t)
	r.start()
	for sent := 0; len(facts(r, bus.ContextCompacted)) == 0; sent++ {
		r.chat("s", told(sent))
	}
	if n := r.shedding(bus.PressureNormal); n != 0 {
		t.Errorf("%d bytes freed while nothing presses", n)
	}
	text := r.number(`SELECT length(CAST(text AS BLOB)) FROM summary`)
	if n := r.shedding(bus.PressureWarn); n < text || n > text+500 {
		t.Errorf("%d bytes freed, the summary has %d", n, text)
	}
	r.chat("s", "hello")
	questions, _ := w.asked()
	if got := lines(questions[len(questions)-1]); !strings.Contains(got[0], "Spoken of") {
		t.Errorf("the model reads %q", got)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.agent.Door().Metrics...)
	if n, err := testutil.GatherAndCount(reg, "blufio_summaries_bytes", "blufio_summaries_bytes_limit", "blufio_compactions_waiting", "blufio_compactions_waiting_limit"); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	most, entries := agent.FillSummaries(10_000, 1000)
	if most > agent.SummaryBytes || entries < 200 {
		t.Errorf("%d summaries take %d bytes", entries, most)
	}
}

// A conversation that is too long for a model loses its oldest exchanges first, and the
// summary last.
func TestTooLongKeepsTheSummary(t *testing.T) {
	r, w := compacting(t)
	fits := 1000
	r.model.complete = func(ctx context.Context, q llm.Request, delta func(string)) (llm.Response, error) {
		if !isSummary(q) && len(q.Messages) > fits {
			return llm.Response{}, llm.TooLong(bus.Errorf(bus.CodeInvalid, "too long"))
		}
		return w.complete(ctx, q, delta)
	}
	r.start()
	for sent := 0; len(facts(r, bus.ContextCompacted)) == 0; sent++ {
		r.calmly("s", told(sent))
	}
	r.calmly("s", "and")
	for _, most := range []int{5, 3, 1} {
		fits = most
		if got := r.chat("s", "what now?"); got.State != bus.StateAnswered {
			t.Fatalf("%+v", got)
		}
		questions, _ := w.asked()
		if got := lines(questions[len(questions)-1]); len(got) != most || (most > 1) != strings.Contains(got[0], "summary of our conversation") {
			t.Errorf("at most %d messages: the model reads %q", most, got)
		}
	}
}
