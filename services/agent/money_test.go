// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
)

func TestRefusedSpendingReachesThePerson(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*rig)
		code    bus.Code
		want    string
	}{
		"budget":        {func(r *rig) { r.costs.DailyUSD = 0.001 }, bus.CodeBudget, "budget"},
		"unknown price": {func(r *rig) { r.model.name = "new" }, bus.CodePriceUnknown, "price"},
		"kill switch":   {nil, bus.CodeStopped, "spending is stopped: holidays"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, echo)
			r.model.name = "dear"
			if c.prepare != nil {
				c.prepare(r)
			}
			r.start()
			if c.prepare == nil {
				if _, err := bus.SpendingSet.Ask(t.Context(), r.ask, bus.SpendingSwitch{Stopped: true, Reason: "holidays"}); err != nil {
					t.Fatal(err)
				}
			}
			got := r.chat("s", "hello")
			if got.State != bus.StateFailed || !strings.Contains(got.Text, c.want) {
				t.Errorf("reply: %+v", got)
			}
			if m := r.get(got.MessageID); m.Error != c.code {
				t.Errorf("message: %+v", m)
			}
			for text, want := range map[string]string{
				"/help": "/cost", "/cost": "today: $0.00 of", "/status": "I could not ask for my status", // no control room here
				"/new": "A new conversation", "/dance now": "I do not know the command /dance.",
			} {
				if got := r.chat("s", text); got.State != bus.StateAnswered || !strings.Contains(got.Text, want) {
					t.Errorf("%s: %+v", text, got)
				}
			}
			if n := len(r.model.asked()); n != 0 {
				t.Errorf("the model was asked %d times", n)
			}
			if n := r.number(`SELECT (SELECT count(*) FROM cost_ledger) + (SELECT count(*) FROM settlement)`); n != 0 {
				t.Errorf("%d calls were booked", n)
			}
		})
	}
}

func TestStatusCommand(t *testing.T) {
	r := newRig(t, echo).start()
	control := r.bus.Connect(t, "control")
	err := control.Handle(t.Context(), bus.StatusGet.Answer(func(context.Context, bus.StatusQuery) (bus.Status, error) {
		return bus.Status{State: "healthy", Version: "1.2.3"}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.chat("s", "/status"); !strings.HasPrefix(got.Text, "healthy, version 1.2.3, up 0s") {
		t.Errorf("reply: %+v", got)
	}
}

func TestSettledOnce(t *testing.T) {
	r := newRig(t, nil)
	r.model.name = "dear"
	var n atomic.Int32
	r.model.complete = func(ctx context.Context, req llm.Request, delta func(string)) (llm.Response, error) {
		if n.Add(1) == 1 {
			r.stopCost() // the ledger goes away while the model thinks
		}
		return echo(ctx, req, delta)
	}
	r.start()
	r.chat("s", "hello")
	r.until("the ledger has been asked in vain", func() bool { return r.number(`SELECT count(*) FROM settlement`) == 1 })
	if n := r.number(`SELECT count(*) FROM cost_ledger`); n != 0 {
		t.Fatalf("%d calls are booked by a ledger that is away", n)
	}
	r.startCost()
	r.until("the call is booked", func() bool { return r.number(`SELECT count(*) FROM settlement`) == 0 })
	r.chat("s", "again")
	r.until("that one too", func() bool { return r.number(`SELECT count(*) FROM cost_ledger`) == 2 })
	// Told again, as after a crash before the note of it:
	r.until("the list is empty", func() bool { return r.number(`SELECT count(*) FROM settlement`) == 0 })
	r.exec(`INSERT INTO settlement (payload) SELECT json_object('id', id, 'model', model, 'provider', provider, 'purpose', purpose) FROM cost_ledger`)
	r.until("duplicates are told", func() bool { return r.number(`SELECT count(*) FROM settlement`) == 0 })
	if n := r.number(`SELECT sum(calls) FROM cost_day`); n != 2 {
		t.Errorf("%d calls are booked, want 2", n)
	}
	if n := r.number(`SELECT count(*) FROM cost_reservation`); n != 0 {
		t.Errorf("%d reservations stay", n)
	}
	if n := len(facts(r, bus.CostRecorded)); n != 2 {
		t.Errorf("recorded %d times, want 2", n)
	}
}

// TestFailedCallIsSettled: what a call cost is booked also when its answer is
// lost, and nonsense of the provider does not keep it from the ledger.
func TestFailedCallIsSettled(t *testing.T) {
	r := newRig(t, func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		return llm.Response{Usage: bus.Usage{Input: 100, Output: -7, CacheRead: 1 << 60}}, bus.Errorf(bus.CodeUnavailable, "cut off")
	})
	r.model.name = "dear"
	r.costs.DailyUSD, r.costs.MonthlyUSD = 0, 0
	r.start()
	if got := r.chat("s", "hello"); got.State != bus.StateFailed {
		t.Errorf("reply: %+v", got)
	}
	r.until("it is booked", func() bool {
		return r.number(`SELECT count(*) FROM cost_ledger WHERE input = 100 AND output = 0`) == 1
	})
}

// TestCommitsPerTurn counts what a person waits for. A commit is forced by an
// eager write (Stats.Writes); a lazy one rides along or, where nothing else
// comes, gets its own after the linger, and no one waits for that.
func TestCommitsPerTurn(t *testing.T) {
	r := newRig(t, nil)
	r.cfg.RecallTokens, r.cfg.CompactUSD = agent.Defaults().RecallTokens, agent.Defaults().CompactUSD
	r.model.name = "dear"
	r.setup = (*agent.Service).Unhurried // the retries' own reading would blur the count
	var asked, committed, running int64
	sent := make(chan uint64, 1)
	r.model.complete = func(ctx context.Context, req llm.Request, delta func(string)) (llm.Response, error) {
		st := r.store.Stats()
		asked, committed = int64(st.Writes), int64(st.Commits)
		running = r.number(`SELECT count(*) FROM message WHERE state = 'running'`)
		return echo(ctx, req, delta)
	}
	r.start()
	r.until("the rooms' beginnings are written", func() bool { return r.store.Stats().QueueDepth == 0 && r.store.Stats().Commits > 4 })
	settled := quiet(r)
	before := r.store.Stats()
	r.gateway.refuse(func(bus.Reply) error {
		select {
		case sent <- r.store.Stats().Writes:
		default:
		}
		return nil
	})
	r.chat("s", "hello")
	if got := asked - int64(before.Writes); got != 2 || running != 1 {
		t.Errorf("when the model is asked there were %d writes that force a commit (want 2: accept and reserve), %d messages are marked as running", got, running)
	}
	if got := committed - int64(before.Commits); got < 2 || got > 3 {
		t.Errorf("when the model is asked there were %d commits, want 2, or 3 where the begin's mark did not wait for the reservation", got)
	}
	if got := <-sent - before.Writes; got < 3 || got > 4 {
		t.Errorf("when the reply leaves there were %d writes that force a commit, want 3: accept, reserve, finish; the ledger's booking may have begun beside it", got)
	}
	after := quiet(r)
	if got := after.Writes - settled.Writes; got != 4 {
		t.Errorf("in all %d forced a commit, want 4: those three and the ledger's booking", got)
	}
	if got := after.LazyWrites - settled.LazyWrites; got != 3 {
		t.Errorf("%d writes rode along, want 3: the begin's mark, the delivery's note, the settlement's note", got)
	}
	if got := after.Commits - settled.Commits; got > 4+3 { // on a busy machine each of the three comes late for the others' commits
		t.Errorf("%d commits in all; beyond the four at most one for each that rides along", got)
	}
}

// quiet returns the store's counters once they have stood still for several
// lingers.
func quiet(r *rig) (st struct{ Writes, LazyWrites, Commits uint64 }) {
	r.t.Helper()
	since := time.Now()
	r.until("the store is quiet", func() bool {
		now := r.store.Stats()
		if now.Writes != st.Writes || now.LazyWrites != st.LazyWrites || now.Commits != st.Commits || now.QueueDepth > 0 {
			st.Writes, st.LazyWrites, st.Commits, since = now.Writes, now.LazyWrites, now.Commits, time.Now()
		}
		return time.Since(since) > 100*time.Millisecond
	})
	return st
}
