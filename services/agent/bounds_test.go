// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/tool"
)

// unstarted is the room with nobody who works in it.
func unstarted(t *testing.T) *agent.Service {
	t.Helper()
	r := newRig(t, echo)
	r.cfg.CompactUSD = 1
	r.open()
	t.Cleanup(func() {
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
	})
	tools, err := tool.New(r.tools, tool.Deps{Store: r.store, DataDir: filepath.Dir(r.path)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := agent.New(r.cfg, agent.Deps{Store: r.store, Events: r.events, Blobs: r.blobs, Models: r.models(), Tools: tools, Logger: r.log, Now: r.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Conversations that find no room among those that wait for a summary are looked at
// again after their next turn, and are not held for being summarised.
func TestWaitingForSummariesIsBounded(t *testing.T) {
	s := unstarted(t)
	s.Grown(200)
	m := scrape(t, s)
	if n, limit := m["blufio_compactions_waiting"], m["blufio_compactions_waiting_limit"]; n != limit || n != 64 || s.Compacting() != 64 {
		t.Errorf("%v of %v wait, %d are held", n, limit, s.Compacting())
	}
	if n := m["blufio_compactions_running"]; n != 0 {
		t.Errorf("%v are being made", n)
	}
}

// What could not be summarised is remembered within a bound.
func TestPostponedSummariesAreBounded(t *testing.T) {
	s := unstarted(t)
	s.Postpone(4096)
	full := scrape(t, s)
	s.Postpone(4100) // the first 4096 are known
	over := scrape(t, s)
	if n, limit := full["blufio_compactions_postponed"], full["blufio_compactions_postponed_limit"]; n != limit || n != 4096 {
		t.Errorf("%v of %v are let be", n, limit)
	}
	if n := over["blufio_compactions_postponed"]; n != 4 {
		t.Errorf("beyond the bound %v are let be", n)
	}
}

// The bound of dead letters is their age: a gauge tells it, and when it is reached the
// log does.
func TestDeadLettersHaveAnEnd(t *testing.T) {
	r, log := newRig(t, deadly), &bustest.Text{}
	r.log = slog.New(slog.NewTextHandler(log, nil))
	r.start()
	const age, bound = "blufio_dead_letters_oldest_seconds", "blufio_dead_letters_oldest_seconds_limit"
	r.status()
	if m := scrape(t, r.agent); m[age] != 0 || m[bound] != (r.cfg.KeepHistory+time.Hour).Seconds() {
		t.Errorf("without any: %v of %v", m[age], m[bound])
	}
	r.send("s", "one")
	r.wait(1)
	r.settled()
	r.clock.add(48 * time.Hour)
	r.send("s", "two")
	r.wait(2)
	r.settled()
	if n := r.status().Queues.Dead; n != 2 {
		t.Fatalf("%d are dead", n)
	}
	if m := scrape(t, r.agent); m[age] < 48*3600 || m[age] > 49*3600 {
		t.Errorf("the oldest is %v s old", m[age])
	}
	if err := r.agent.Expire(t.Context(), r.clock.now().Add(r.cfg.KeepHistory-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "letters=1"); n != 1 || r.status().Queues.Dead != 1 {
		t.Errorf("told %d times; %d are dead", n, r.status().Queues.Dead)
	}
	if m := scrape(t, r.agent); m[age] > 3600 {
		t.Errorf("the oldest is %v s old", m[age])
	}
}
