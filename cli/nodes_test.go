// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// hub has the house answer for a hub.
func (h *house) hub(ask func(bus.NodeQuestion) (bus.NodeAnswer, error), nodes bus.Nodes) {
	h.t.Helper()
	h.check(h.terminal.Handle(h.t.Context(),
		bus.NodeAsk.Answer(func(_ context.Context, q bus.NodeQuestion) (bus.NodeAnswer, error) { return ask(q) }),
		bus.NodeList.Answer(func(context.Context, bus.NodesQuery) (bus.Nodes, error) { return nodes, nil })))
}

// Each way in which another daemon does not answer has its exit code and hint.
func TestNodeThatCannotBeAsked(t *testing.T) {
	h := newHouse(t)
	var answer bus.NodeAnswer
	var failure error
	h.hub(func(q bus.NodeQuestion) (bus.NodeAnswer, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if q.Node != "kitchen" || q.Call != "ctl.status" || string(q.Request) != "{}" {
			t.Errorf("asked %+v", q)
		}
		return answer, failure
	}, bus.Nodes{})
	degraded, err := json.Marshal(bus.Status{Schema: bus.StatusSchema, State: bus.Degraded, Node: "kitchen"})
	h.check(err)
	for _, tt := range []struct {
		answer  bus.NodeAnswer
		failure error
		code    int
		text    string
	}{
		{bus.NodeAnswer{Answer: degraded}, nil, exitFailed, `"node": "kitchen"`},
		{bus.NodeAnswer{Answer: []byte(`[1]`)}, nil, exitFailed, "read the answer of kitchen"},
		{bus.NodeAnswer{Error: &bus.NodeError{Code: bus.CodeTimeout, Message: "too slow"}}, nil, exitNoAnswer, "kitchen: too slow"},
		{bus.NodeAnswer{Error: &bus.NodeError{Code: "x\x1b[2J", Message: "odd"}}, nil, exitFailed, "kitchen: odd"},
		{bus.NodeAnswer{}, bus.Errorf(bus.CodeNotFound, "kitchen is not on the hub"), exitNotRunning, "not on the hub"},
		{bus.NodeAnswer{}, bus.Errorf(bus.CodeUnavailable, "this daemon has no hub"), exitNoAnswer, "no hub"},
		{bus.NodeAnswer{}, bus.Errorf(bus.CodeTimeout, "kitchen is on the hub and does not answer"), exitNoAnswer, "does not answer"},
	} {
		h.mu.Lock()
		answer, failure = tt.answer, tt.failure
		h.mu.Unlock()
		code, stdout, stderr := h.blufio("--node", "kitchen", "status", "--json")
		if code != tt.code || !strings.Contains(stdout+stderr, tt.text) {
			t.Errorf("code %d, want %d: %s%s", code, tt.code, stdout, stderr)
		}
	}
}

// Two that share a name are pointed out, and what they say does not reach the
// terminal as more than text.
func TestNodesTable(t *testing.T) {
	h := newHouse(t)
	rss, today := int64(34<<20), bus.MicroUSD(1_230_000)
	row := func(node, id, state string) bus.NodeRow {
		return bus.NodeRow{Node: node, ID: id, State: state, Version: "v1\x1b[2J", UptimeSeconds: 7500, RSS: &rss, Today: &today, Time: time.Now()}
	}
	silent := row("attic", "a", bus.Degraded)
	silent.RSS, silent.Today = nil, nil
	h.hub(nil, bus.Nodes{Self: "kitchen", More: true, Nodes: []bus.NodeRow{silent, row("garage", "a", bus.Healthy), row("garage", "b", bus.Healthy), row("kitchen", "a", bus.Healthy)}})
	code, stdout, stderr := h.blufio("nodes")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if code != 0 || len(lines) != 5 || strings.Contains(stdout, "\x1b") || !strings.Contains(stderr, "more than are shown") {
		t.Fatalf("code %d\n%s%s", code, stdout, stderr)
	}
	for i, want := range []string{"node", "warn  attic", "another daemon has this name too", "another daemon has this name too", "2h 5m  34.0 MiB  $1.23  this one"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("%q lacks %q", lines[i], want)
		}
	}
}

// --node goes with the commands that a hub may ask, and with no other.
func TestNodeFlag(t *testing.T) {
	for _, args := range commandPaths(t) {
		a := &app{node: "kitchen"}
		cmd, _, err := a.root().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		a.node = "kitchen"
		if err := a.checkNode(cmd, nil); (err == nil) != (len(args) == 1 && (args[0] == "status" || args[0] == "doctor")) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
