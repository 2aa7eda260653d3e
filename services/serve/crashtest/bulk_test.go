// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
)

const (
	bulkSenders  = 16
	bulkSessions = 20      // of each sender
	bulkMB       = 200     // the daemon's default limit of memory
	promptBytes  = 4 << 13 // 4000 tokens of history, the instructions and the tools, as JSON
)

// peakMB is the most memory that the daemon's process has had.
func (d *daemon) peakMB(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var kB int
	if _, after, ok := strings.Cut(string(data), "VmHWM:"); !ok {
		t.Fatal("the system does not tell a process's memory")
	} else if _, err := fmt.Sscan(after, &kB); err != nil {
		t.Fatal(err)
	}
	return kB >> 10
}

// bulk sends n messages of one sender, in turn to each of its sessions, and calls busy
// when it is told to come back.
func bulk(ctx context.Context, p plan, sender, n int, busy func()) error {
	c, err := dial(p, bus.MessageReceive)
	if err != nil {
		return err
	}
	defer c.NATS().Close()
	for i := range n {
		for {
			_, err := bus.MessageReceive.Ask(ctx, c, bus.Message{Channel: terminal, Owner: fmt.Sprint("owner-", sender),
				Session: fmt.Sprint("s", i%bulkSessions), Text: fmt.Sprintf("what about crash-%d-%d then", sender, i)})
			if err == nil {
				break
			}
			if !errors.Is(passing(err), errAway) {
				return err
			}
			busy()
			select {
			case <-time.After(tryAgain):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// TestBulk: very many messages at once are answered, in the order of their
// sessions, within the memory there is.
func TestBulk(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	m.pace = pace{}
	p := newPlan(t, m, "max_queue = 200")
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	each := longer(20, 625)
	var busy atomic.Int64
	var all []func(context.Context) error
	hold := m.hold() // until the queue is full
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	for s := range bulkSenders {
		all = append(all, func(ctx context.Context) error { return bulk(ctx, p, s, each, func() { busy.Add(1); release() }) })
	}
	began := time.Now()
	if err := services.Work(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	accepted := time.Since(began)
	found := &findings{settleLimit: settleLimit}
	p.settle(t, found)
	answered := time.Since(began)
	for s := range bulkSenders {
		for i := range bulkSessions {
			h, err := ask(t.Context(), p, bus.AgentHistory, bus.HistoryQuery{Channel: terminal, Owner: fmt.Sprint("owner-", s), Session: fmt.Sprint("s", i), Limit: historyLimit})
			if err != nil {
				t.Fatal(err)
			}
			if want := each / bulkSessions; len(h.Messages) < want || len(h.Messages) > want+1 {
				t.Errorf("session %d of sender %d has %d messages, want %d", i, s, len(h.Messages), want)
			}
			for n, got := range h.Messages {
				text := fmt.Sprintf("what about crash-%d-%d then", s, n*bulkSessions+i)
				if got.Text != text || got.State != bus.StateAnswered || !strings.Contains(got.Reply, text) {
					t.Errorf("session %d of sender %d has at place %d %q, %s: %q", i, s, n, got.Text, got.State, got.Reply)
				}
			}
		}
	}
	_, faults := m.seen()
	for _, problem := range append(found.problems, faults...) {
		t.Error(problem)
	}
	if peak := d.peakMB(t); peak > bulkMB && !raceEnabled {
		t.Errorf("the daemon needed %d MB, more than %d", peak, bulkMB)
	}
	t.Logf("%d messages in %d sessions: accepted in %s (told to come back %d times), answered in %s, at most %d MB",
		bulkSenders*each, bulkSenders*bulkSessions, accepted.Round(time.Millisecond), busy.Load(), answered.Round(time.Millisecond), d.peakMB(t))
	d.stop(t)
}

// TestLongSession: a session with very many messages neither makes prompts long
// nor pages slow.
func TestLongSession(t *testing.T) {
	t.Parallel()
	m := newModel(t)
	m.pace = pace{}
	p := newPlan(t, m)
	d := start(t, p, build(t, shipped))
	d.awaitHealthy(t)
	n := longer(150, 5000)
	c, err := dial(p, bus.MessageReceive)
	if err != nil {
		t.Fatal(err)
	}
	defer c.NATS().Close()
	for i := range n {
		if _, err := bus.MessageReceive.Ask(t.Context(), c, bus.Message{Channel: terminal, Owner: "long", Text: fmt.Sprintf("what about crash-0-%d then", i)}); err != nil {
			t.Fatal(err)
		}
	}
	found := &findings{settleLimit: settleLimit}
	p.settle(t, found)
	var pages []time.Duration
	var had int
	for after := int64(0); ; {
		began := time.Now()
		h, err := ask(t.Context(), p, bus.AgentHistory, bus.HistoryQuery{Channel: terminal, Owner: "long", Session: "main", After: after, Limit: historyLimit})
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, time.Since(began))
		for _, got := range h.Messages {
			if want := fmt.Sprintf("what about crash-0-%d then", had); got.Text != want || got.State != bus.StateAnswered {
				t.Errorf("at place %d is %q, %s", had, got.Text, got.State)
			}
			had++
		}
		if !h.More {
			break
		}
		after = h.Messages[len(h.Messages)-1].Seq
	}
	_, faults := m.seen()
	for _, problem := range append(found.problems, faults...) {
		t.Error(problem)
	}
	if had != n {
		t.Errorf("the history has %d messages of %d", had, n)
	}
	if m.most > promptBytes {
		t.Errorf("a prompt had %d bytes, more than %d", m.most, promptBytes)
	}
	t.Logf("%d messages in one session: %d pages, the first in %s and the last in %s (median %s); the longest prompt has %d bytes; at most %d MB",
		n, len(pages), pages[0].Round(time.Microsecond), pages[len(pages)-1].Round(time.Microsecond), median(pages), m.most, d.peakMB(t))
	d.stop(t)
}
