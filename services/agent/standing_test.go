// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/roomtest"
)

// Status is asked each second: it must not read more because more is kept.
func TestStatusReadsNoMoreForMoreSessions(t *testing.T) {
	r := newRig(t, echo)
	r.open()
	plan := r.plan(agent.StatusStatement)
	for step := range strings.SplitSeq(plan, "; ") {
		switch {
		case !strings.Contains(step, "SCAN"), strings.Contains(step, "SCAN agent_state"), strings.Contains(step, "SCAN CONSTANT ROW"):
		case strings.Contains(step, "INDEX message_dead"), strings.Contains(step, "INDEX outbox_dead"): // an index of the dead ones alone
		case strings.Contains(step, "SCAN (subquery"): // of one row
		default:
			t.Errorf("%s, in %s", step, plan)
		}
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// Retention comes by each hour, mostly to find nothing: it must not read all that is kept for
// that, nor all that is old for a part of it.
func TestRetentionDoesNotReadTheHistory(t *testing.T) {
	r := newRig(t, echo)
	r.open()
	for _, statement := range agent.RetentionStatements() {
		plan := r.plan(statement)
		for step := range strings.SplitSeq(plan, "; ") {
			switch {
			case strings.Contains(step, "TEMP B-TREE"): // all that is old, sorted for each thousand
			case !strings.Contains(step, "SCAN"), strings.Contains(step, "INDEX outbox_dead"), strings.Contains(step, "INDEX message_dead"), strings.Contains(step, "SCAN (subquery"):
				continue
			}
			t.Errorf("%s\n%s, in %s", statement, step, plan)
		}
	}
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// counts expects the status to tell so many sessions and summaries, and the tables to hold them.
func (r *rig) counts(when string, sessions, summaries int64) {
	r.t.Helper()
	st := r.status()
	if st.Sessions.Total != sessions || st.Context.Summaries != summaries {
		r.t.Errorf("%s: the status tells %d sessions and %d summaries, want %d and %d", when, st.Sessions.Total, st.Context.Summaries, sessions, summaries)
	}
	if n, m := r.number(`SELECT count(*) FROM session WHERE channel <> ?`, bus.DoctorChannel), r.number(`SELECT count(*) FROM summary`); n != sessions || m != summaries {
		r.t.Errorf("%s: there are %d sessions and %d summaries, want %d and %d", when, n, m, sessions, summaries)
	}
}

// The numbers of the status stay right whatever makes sessions and summaries, and deletes them.
func TestStatusCounts(t *testing.T) {
	r, _ := compacting(t)
	r.start()
	r.counts("at first", 0, 0)
	r.exec(`INSERT INTO session (channel, owner, name, created_at, last_at) VALUES (?, 'x', 'main', 1, 1)`, bus.DoctorChannel)
	r.chat("a", "hello")
	r.chat("b", "hello")
	r.chat("a", "again")
	r.counts("of two, and doctor's", 2, 0)
	sent := 0
	for ; len(facts(r, bus.ContextCompacted)) < 2; sent++ { // the second in place of the first
		r.calmly("s", told(sent))
	}
	r.counts("after two summaries of one", 3, 1)
	r.restart()
	r.counts("after a restart", 3, 1)
	if n := scrape(t, r.agent)["blufio_sessions_kept"]; n != 3 {
		t.Errorf("the gauge says %v", n)
	}
	r.chat("s", "/new")
	r.counts("after /new", 3, 0)
	for ; len(facts(r, bus.ContextCompacted)) < 3; sent++ {
		r.calmly("s", told(sent))
	}
	r.counts("after another summary", 3, 1)
	r.until("all is delivered", func() bool { return r.number(`SELECT count(*) FROM outbox`) == 0 })
	if err := r.agent.Expire(t.Context(), r.clock.now().Add(r.cfg.KeepHistory+time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.counts("when all is old", 0, 0)
	r.chat("a", "hello")
	r.counts("when it begins anew", 1, 0)
	// A session that is deleted takes its summary along.
	r.exec(`INSERT INTO session (id, channel, owner, name, created_at, last_at) VALUES (99, 'gateway', 'bob', 'b', 1, 1)`)
	r.exec(`INSERT INTO summary (session_id, from_seq, to_seq, from_at, made_at, provider, model, text) VALUES (99, 1, 2, 1, 1, '', '', '')`)
	r.counts("with a summary", 2, 1)
	r.exec(`DELETE FROM session WHERE id = 99`)
	r.counts("without its session", 1, 0)
}

// What an earlier version kept is counted when its database is taken over.
func TestStatusCountsWhatWasThere(t *testing.T) {
	r := newRig(t, echo)
	before := agent.Schemas()
	step := slices.IndexFunc(before[0].Steps, func(s string) bool { return strings.Contains(s, "session_begun") })
	before[0].Steps = before[0].Steps[:step]
	r.store = roomtest.OpenStore(t, r.path, before...)
	r.exec(`INSERT INTO session (id, channel, owner, name, created_at, last_at) VALUES (1, 'gateway', 'ann', 'a', 1, 1), (2, 'gateway', 'ann', 'b', 1, 1), (3, ?, 'x', 'main', 1, 1)`, bus.DoctorChannel)
	r.exec(`INSERT INTO message (id, session_id, text, state, received_at, finished_at) VALUES ('m', 1, 'x', 'answered', ?1, ?1), ('n', 2, 'x', 'answered', ?1, ?1)`, time.Now())
	r.exec(`INSERT INTO summary (session_id, from_seq, to_seq, from_at, made_at, provider, model, text) VALUES (1, 1, 1, ?1, ?1, '', '', 'x')`, time.Now())
	if err := r.store.Close(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.counts("taken over", 2, 1)
}
