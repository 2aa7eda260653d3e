// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/offline"
)

// beating is a rig whose agent looks every hour; what it says is in next.
func beating(t *testing.T, next *string) *rig {
	r := newRig(t, func(_ context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		if strings.Contains(last(q).Text, "a scheduled look") {
			return say(*next), nil
		}
		return say("echo " + last(q).Text), nil
	})
	r.heartbeat = agent.HeartbeatDefaults()
	r.heartbeat.Every, r.heartbeat.Channel, r.heartbeat.Owner, r.heartbeat.Session = time.Hour, "gateway", "ann", "s"
	return r
}

// noted waits until a look was decided upon, n times in all.
func (r *rig) noted(before int64) int64 {
	r.t.Helper()
	var at int64
	r.until("a heartbeat is noted", func() bool { at = r.number(`SELECT heartbeat_at FROM agent_state`); return at != before })
	return at
}

func TestHeartbeat(t *testing.T) {
	next := "Your tea is ready."
	r := beating(t, &next).start()
	r.chat("s", "put the kettle on")
	at := r.noted(0)
	if n := len(r.model.asked()); n != 1 {
		t.Errorf("a first start is no heartbeat: %d questions", n)
	}

	r.clock.add(time.Hour)
	got := r.wait(2)[1]
	if got.Text != next || got.Session != "s" || got.Owner != "ann" {
		t.Errorf("%+v", got)
	}
	at = r.noted(at)
	r.until("it is booked", func() bool {
		return r.number(`SELECT count(*) FROM cost_ledger WHERE purpose = 'heartbeat'`) == 1
	})

	// Nothing has changed since: nobody is asked, also after a restart.
	r.clock.add(time.Hour)
	at = r.noted(at)
	r.restart()
	r.clock.add(time.Hour)
	at = r.noted(at)
	if n := len(r.model.asked()); n != 2 {
		t.Errorf("nothing changed, and the model was asked: %d questions", n)
	}

	// With nothing to say nobody hears of it, and it is no part of the conversation.
	r.chat("s", "thank you")
	next = "Nothing."
	r.clock.add(time.Hour)
	r.noted(at)
	r.until("it has looked", func() bool { return len(r.model.asked()) == 4 })
	got = r.chat("s", "anything else?")
	asked := r.model.asked()
	for _, m := range asked[len(asked)-1].Messages {
		if strings.Contains(m.Text, "Nothing") {
			t.Errorf("the model reads that there was nothing to say: %+v", asked[len(asked)-1].Messages)
		}
	}
	if n := len(r.gateway.replies()); n != 4 || got.Text != "echo anything else?" {
		t.Errorf("%d replies, the last %+v", n, got)
	}
}

// The looks of a month have a limit of their own; beyond it nobody is asked, and
// nobody hears of that.
// Without a model there is nobody to look: what it has to say for itself is no news.
func TestNoHeartbeatWithoutModel(t *testing.T) {
	r := newRig(t, offline.Provider{}.Complete)
	r.heartbeat = agent.HeartbeatDefaults()
	r.heartbeat.Every, r.heartbeat.Channel, r.heartbeat.Owner, r.heartbeat.Session = time.Hour, "gateway", "ann", "s"
	r.model.provider = offline.Name
	r.start()
	r.chat("s", "hello")
	r.clock.add(time.Hour)
	r.chat("s", "are you there")
	if at := r.number(`SELECT heartbeat_at FROM agent_state`); at != 0 {
		t.Errorf("it has looked, at %d", at)
	}
}

func TestHeartbeatLimit(t *testing.T) {
	next := "Your tea is ready."
	r := beating(t, &next)
	r.model.name, r.heartbeat.MonthlyUSD = "dear", 0.000001
	r.cfg.HistoryTokens = 0
	r.start()
	at := r.noted(0)
	r.chat("s", "hello")
	r.clock.add(time.Hour)
	r.noted(at)
	r.until("the look has failed", func() bool { return len(facts(r, bus.TurnFailed)) == 1 })
	if f := facts(r, bus.TurnFailed)[0]; f.Error != bus.CodeBudget {
		t.Errorf("%+v", f)
	}
	if n := len(r.model.asked()); n != 1 {
		t.Errorf("%d questions", n)
	}
	if got := r.chat("s", "still there?"); got.Text != "echo still there?" || len(r.gateway.replies()) != 2 {
		t.Errorf("%+v", r.gateway.replies())
	}
}
