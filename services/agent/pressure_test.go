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
)

// governed is a rig with a governor's stand-in.
func governed(t *testing.T, level string) (r *rig, say func(level string)) {
	t.Helper()
	r = newRig(t, echo)
	gov := r.bus.Connect(t, "governor", bus.MemoryLevel, bus.MemoryShed)
	if err := gov.Handle(t.Context(), bus.MemoryRead.Answer(func(context.Context, bus.MemoryQuery) (bus.Memory, error) {
		return bus.Memory{Pressure: level}, nil
	})); err != nil {
		t.Fatal(err)
	}
	return r, func(level string) {
		if err := bus.MemoryLevel.Publish(gov, bus.Level{Time: r.clock.now(), Pressure: level}); err != nil {
			t.Fatal(err)
		}
	}
}

// refuses waits until a message that begins a session is refused, or is not.
func (r *rig) refuses(want bool) {
	r.t.Helper()
	n := 0
	r.until(fmt.Sprintf("a new session is refused: %v", want), func() bool {
		n++
		_, err := r.trySend(message(fmt.Sprint(r.t.Name(), want, n), "hello"))
		if err != nil {
			wantCode(r.t, err, bus.CodeBusy)
		}
		return (err != nil) == want
	})
}

// While memory is short a quarter of the turns run at one time. The others wait, and are
// answered when there is room.
func TestFewerTurnsWhileMemoryIsShort(t *testing.T) {
	r, say := governed(t, bus.PressureWarn)
	r.cfg.MaxTurns = 8
	running, free := make(chan string, 100), make(chan struct{})
	r.model.complete = func(ctx context.Context, req llm.Request, delta func(string)) (llm.Response, error) {
		running <- "one"
		<-free
		return echo(ctx, req, delta)
	}
	r.start()
	r.until("the level is heard", func() bool { return r.agent.MemoryIsShort() })
	const all = 12
	for i := range all {
		r.send(fmt.Sprint("s", i), "hello")
	}
	r.until("a quarter runs", func() bool { return len(running) >= 2 })
	say(bus.PressureCritical) // a session that is known goes on; no turn more
	free <- struct{}{}
	r.until("the next one runs", func() bool { return len(running) >= 3 })
	if n := r.number(`SELECT count(*) FROM message WHERE state = 'running'`); n > 2 {
		t.Errorf("%d turns run, 2 may", n)
	}
	r.clock.add(31 * time.Second)
	say(bus.PressureNormal)
	r.until("all that may run do", func() bool { return len(running) >= 9 })
	close(free)
	r.wait(all)
}

// While memory is about to run out no session is begun, on any channel; those that
// there are go on, whether they are busy or have been idle for long.
func TestNoNewSessionWhileMemoryIsShort(t *testing.T) {
	r, say := governed(t, bus.PressureNormal)
	r.start()
	r.chat("old", "one")
	say(bus.PressureWarn)
	say(bus.PressureCritical)
	r.refuses(true)
	_, err := r.trySend(message("new", "hello"))
	if e := err.(*bus.Error); e.RetryAfter < 15*time.Second || e.Hint == "" || !strings.Contains(e.Message, "memory") {
		t.Errorf("refused with %+v", e)
	}
	before := r.number(`SELECT count(*) FROM session`)
	if got := r.chat("old", "two"); got.Text != "echo two" {
		t.Errorf("the old session: %+v", got)
	}
	if _, err := r.trySend(bus.Message{Channel: "terminal", Owner: "ann", Session: "old", Text: "hello"}); bus.CodeOf(err) != bus.CodeBusy {
		t.Errorf("a session of the same name on another channel: %v", err)
	}
	if n := r.number(`SELECT count(*) FROM session`); n != before {
		t.Errorf("%d sessions, %d before", n, before)
	}
	if n := scrape(t, r.agent)["blufio_sessions_refused_total"]; n != 3 {
		t.Errorf("%g refusals are counted, there were 3", n)
	}
	say(bus.PressureNormal)
	r.refuses(false)
}

// A governor that has fallen silent is no reason to turn people away.
func TestSilentGovernorIsNormal(t *testing.T) {
	r, say := governed(t, bus.PressureNormal)
	r.start()
	say(bus.PressureCritical)
	r.refuses(true)
	r.clock.add(bus.LevelHolds)
	r.refuses(false)
}

// A room that starts while memory is short knows it from the first message on.
func TestPressureIsKnownAtTheStart(t *testing.T) {
	r, _ := governed(t, bus.PressureCritical)
	r.start()
	if _, err := r.trySend(message("new", "hello")); bus.CodeOf(err) != bus.CodeBusy {
		t.Errorf("got %v", err)
	}
}

// After a burst of sessions the tables that knew them are given up, and nothing that
// they hold is lost.
func TestShed(t *testing.T) {
	r, _ := governed(t, bus.PressureNormal)
	release := make(chan struct{})
	r.model.complete = func(ctx context.Context, q llm.Request, delta func(string)) (llm.Response, error) {
		select {
		case <-release:
			return echo(ctx, q, delta)
		case <-ctx.Done():
			return llm.Response{}, ctx.Err()
		}
	}
	r.start()
	const sessions = 600
	for n := range sessions {
		r.send(fmt.Sprint("s", n), "hello")
	}
	shed := func(level string) int64 {
		t.Helper()
		freed, err := bus.MemoryShed.To("agent").Ask(t.Context(), r.bus.Connect(t, "governor", bus.MemoryShed), bus.Shed{Pressure: level})
		if err != nil {
			t.Fatal(err)
		}
		return freed.Bytes
	}
	if n := shed(bus.PressureWarn); n > 600*8 { // the queue's spare places at most
		t.Errorf("%d bytes freed while all is needed", n)
	}
	close(release)
	r.wait(sessions)
	r.until("the room is idle", func() bool { a, b := r.agent.Remembered(); return a+b == 0 })
	if n := shed(bus.PressureNormal); n < sessions*agent.QueueEntry {
		t.Errorf("%d bytes freed", n)
	}
	if n := shed(bus.PressureNormal); n != 0 {
		t.Errorf("%d bytes freed a second time", n)
	}
	if got := r.chat("s1", "again"); got.State != bus.StateAnswered {
		t.Errorf("%+v", got)
	}
}
