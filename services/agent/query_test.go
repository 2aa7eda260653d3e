// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus"
)

func TestOwnersSeeTheirOwn(t *testing.T) {
	r := newRig(t, echo).start()
	id := r.send("s", "mine")
	r.wait(1)
	for owner, code := range map[string]bus.Code{"ann": "", "": "", "bob": bus.CodeNotFound} {
		_, err := bus.MessageGet.Ask(t.Context(), r.ask, bus.MessageQuery{ID: id, Owner: owner})
		if bus.CodeOf(err) != code {
			t.Errorf("owner %q: %v, want code %q", owner, err, code)
		}
	}
	_, err := bus.MessageGet.Ask(t.Context(), r.ask, bus.MessageQuery{ID: "none"})
	wantCode(t, err, bus.CodeNotFound)
	for _, q := range []bus.SessionQuery{{Channel: "gateway", Owner: "bob"}, {Channel: "terminal", Owner: "ann"}, {Channel: "gateway"}} {
		got, err := bus.AgentSessions.Ask(t.Context(), r.ask, q)
		if err != nil || got.Sessions == nil || len(got.Sessions) != 0 {
			t.Errorf("%+v: %+v, %v", q, got, err)
		}
		_, err = bus.AgentHistory.Ask(t.Context(), r.ask, bus.HistoryQuery{Channel: q.Channel, Owner: q.Owner, Session: "s"})
		if bus.CodeOf(err) != bus.CodeNotFound {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

func TestSessions(t *testing.T) {
	r := newRig(t, echo).start()
	for _, s := range []string{"a", "b", "c", "a"} {
		r.clock.add(time.Second)
		r.chat(s, "hello")
	}
	r.until("all are idle", func() bool { w, _ := r.agent.Remembered(); return w == 0 })
	got, err := bus.AgentSessions.Ask(t.Context(), r.ask, bus.SessionQuery{Channel: "gateway", Owner: "ann", Limit: 2})
	if err != nil || len(got.Sessions) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if a, c := got.Sessions[0], got.Sessions[1]; a.Name != "a" || a.Messages != 2 || a.State != "idle" || c.Name != "c" || !a.LastAt.After(a.CreatedAt) {
		t.Errorf("newest first: %+v", got.Sessions)
	}
	if st := r.status(); st.Sessions.Total != 3 || st.Provider != "script" || st.Model != "home" {
		t.Errorf("status: %+v", st)
	}
}

// TestHistoryPages: pages end by count and by bytes, and together hold every
// message once, in order.
func TestHistoryPages(t *testing.T) {
	r := newRig(t, echo)
	r.cfg.HistoryTokens = 0
	r.start()
	big := strings.Repeat("<", 60_000) // six bytes each on the bus
	for n := range 7 {
		text := numbered(n)
		if n%2 == 1 {
			text += big
		}
		r.chat("s", text)
	}
	for _, limit := range []int{0, 1, 3} {
		var got []string
		pages, after := 0, int64(0)
		for more := true; more; pages++ {
			page, err := bus.AgentHistory.Ask(t.Context(), r.ask, bus.HistoryQuery{Channel: "gateway", Owner: "ann", Session: "s", After: after, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Messages) == 0 || limit > 0 && len(page.Messages) > limit {
				t.Fatalf("limit %d: a page of %d messages", limit, len(page.Messages))
			}
			for _, m := range page.Messages {
				got = append(got, m.Text[:2])
				after = m.Seq
			}
			more = page.More
		}
		if want := "[m0 m1 m2 m3 m4 m5 m6]"; fmt.Sprint(got) != want {
			t.Errorf("limit %d: %v, want %s", limit, got, want)
		}
		if limit == 0 && pages < 2 {
			t.Error("all fit into one page, which the bus cannot carry")
		}
	}
}

// scrape returns every metric's name with its labels.
func scrape(t *testing.T, s *agent.Service) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	for _, c := range s.Door().Metrics {
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	r := newRig(t, echo).start()
	before := scrape(t, r.agent)
	for _, name := range []string{
		"blufio_messages_total gateway in", "blufio_messages_total gateway out", "blufio_turns_total answered", "blufio_turns_total failed",
		"blufio_turns_total dead", "blufio_messages_refused_total", "blufio_turns_broken_total", "blufio_settlements_retried_total",
		"blufio_response_part_seconds queue", "blufio_response_latency_seconds", "blufio_inbox_messages", "blufio_inbox_messages_limit",
		"blufio_active_sessions", "blufio_active_sessions_limit", "blufio_turns_running", "blufio_turns_running_limit",
		"blufio_outbox_replies", "blufio_outbox_replies_limit", "blufio_inbox_oldest_seconds", "blufio_outbox_oldest_seconds",
		"blufio_dead_letters message", "blufio_dead_letters reply", "blufio_sessions_refused_total", "blufio_response_part_seconds delivery",
	} {
		if _, ok := before[name]; !ok {
			t.Errorf("%s is absent at the first scrape", name)
		}
	}
	r.chat("s", "hello")
	r.chat("t", "/help")
	r.until("replies are counted", func() bool { return scrape(t, r.agent)["blufio_messages_total gateway out"] == 2 })
	after := scrape(t, r.agent)
	if len(after) != len(before) {
		t.Errorf("labels grew from %d to %d", len(before), len(after))
	}
	for name, want := range map[string]float64{"blufio_messages_total gateway in": 2, "blufio_turns_total answered": 2, "blufio_response_latency_seconds": 2} {
		if after[name] != want {
			t.Errorf("%s is %v, want %v", name, after[name], want)
		}
	}
}

func TestEventsCarryTextOnlyWhenAsked(t *testing.T) {
	for _, with := range []bool{false, true} {
		t.Run(fmt.Sprint(with), func(t *testing.T) {
			r := newRig(t, nil)
			r.model.complete = echo
			r.texts = with
			r.start()
			r.chat("s", "secret")
			r.until("it is delivered", func() bool { return len(facts(r, bus.ReplyDelivered)) == 1 })
			found := 0
			for _, row := range roomtest.Events(t, r.events) {
				if strings.Contains(string(row.Payload), "secret") {
					found++
				}
			}
			if want := map[bool]int{false: 0, true: 2}[with]; found != want {
				t.Errorf("%d events carry text, want %d", found, want)
			}
		})
	}
}

func TestRetention(t *testing.T) {
	r := newRig(t, echo)
	r.cfg.ReplyExpires = 1000 * 24 * time.Hour
	r.gateway.refuse(func(m bus.Reply) error {
		if m.Session == "undelivered" {
			return errDown
		}
		return nil
	})
	r.start()
	m := message("old", "old")
	m.ExternalID = "x"
	if _, err := r.trySend(m); err != nil {
		t.Fatal(err)
	}
	r.wait(1)
	r.send("undelivered", "kept")
	r.until("it is answered", func() bool { return r.number(`SELECT count(*) FROM message WHERE state = 'answered'`) == 2 })
	// More than one transaction's worth of old ones beside them.
	err := r.store.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO message (id, session_id, text, state, received_at, finished_at)
			SELECT 'old' || i, (SELECT id FROM session WHERE name = 'old'), 'x', 'answered', received_at, received_at FROM n, (SELECT min(received_at) AS received_at FROM message)`,
			agent.RetentionRows*2)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.clock.add(r.cfg.KeepAccepted + time.Hour)
	r.chat("new", "new")
	r.until("all is booked", func() bool { return r.number(`SELECT count(*) FROM settlement`) == 0 })
	before := r.store.Stats().Writes
	count := func() string {
		return fmt.Sprintf("%d messages, %d ids, %d sessions", r.number(`SELECT count(*) FROM message`),
			r.number(`SELECT count(*) FROM accepted`), r.number(`SELECT count(*) FROM session`))
	}
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{-r.cfg.KeepAccepted - time.Hour, fmt.Sprintf("%d messages, 1 ids, 3 sessions", 2*agent.RetentionRows+3)},
		{0, fmt.Sprintf("%d messages, 0 ids, 3 sessions", 2*agent.RetentionRows+3)},
		{r.cfg.KeepHistory - time.Minute, "2 messages, 0 ids, 2 sessions"}, // the undelivered one stays
	} {
		if err := r.agent.Expire(t.Context(), r.clock.now().Add(c.at)); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != c.want {
			t.Errorf("after %v: %s, want %s", c.at, got, c.want)
		}
	}
	// Four deletions three times, and two more transactions for the many.
	if got := r.store.Stats().Writes - before; got < 14 {
		t.Errorf("%d transactions deleted it all: they are not bounded", got)
	}
	r.gateway.refuse(nil)
	r.wait(3)
}

// Ages tell what waits, dead letters what was given up, also after a restart, and
// what is under way has its gauge.
func TestGaugesOfWhatWaits(t *testing.T) {
	r := newRig(t, nil)
	release := make(chan struct{})
	r.model.complete = func(ctx context.Context, q llm.Request, delta func(string)) (llm.Response, error) {
		if last(q).Text == "wait" {
			select {
			case <-release:
			case <-ctx.Done():
				return llm.Response{}, ctx.Err()
			}
		}
		return echo(ctx, q, delta)
	}
	r.finish = 50 * time.Millisecond
	r.start()
	gauge := func(name string) float64 { return scrape(t, r.agent)[name] }
	if gauge("blufio_inbox_oldest_seconds") != 0 || gauge("blufio_outbox_oldest_seconds") != 0 {
		t.Error("nothing waits, and it is old")
	}
	r.send("s", "wait")
	r.clock.add(time.Minute)
	r.send("t", "wait")
	aged := func(name string, least float64) {
		t.Helper()
		if age := gauge(name); age < least || age > least+60 {
			t.Errorf("%s is %v, want at least %v", name, age, least)
		}
	}
	aged("blufio_inbox_oldest_seconds", 60)
	r.restart()
	aged("blufio_inbox_oldest_seconds", 60)
	hold := make(chan struct{})
	r.gateway.refuse(func(bus.Reply) error { <-hold; return bus.Errorf(bus.CodeDenied, "blocked") })
	close(release)
	r.until("both are being delivered", func() bool { return gauge("blufio_deliveries_running") == 2 })
	r.clock.add(time.Minute)
	aged("blufio_outbox_oldest_seconds", 60)
	close(hold)
	r.until("both replies are dead", func() bool { return r.status().Queues.Dead == 2 })
	r.until("none waits", func() bool { return gauge("blufio_outbox_oldest_seconds") == 0 })
	if n := gauge("blufio_dead_letters reply"); n != 2 || gauge("blufio_dead_letters message") != 0 {
		t.Errorf("%v dead replies", n)
	}
	if n := r.agent.Door().Failures["delivery"](); n != 2 {
		t.Errorf("%v failed deliveries", n)
	}
	r.restart()
	if n := gauge("blufio_dead_letters reply"); n != 2 {
		t.Errorf("%v dead replies after a restart", n)
	}
}
