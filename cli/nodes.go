// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

const (
	nodesTimeout = 4 * time.Second // the roll call takes two, and so does finding that nobody is there

	// throughHub marks commands that --node works with: their call is among
	// bus.HubCalls.
	throughHub = "through-hub"
)

func (a *app) nodesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List the daemons on the hub, one line each",
		Long: "List the daemons that are joined to the same hub as the one on this machine, itself\n" +
			"included: name, state, version, uptime, memory, and what was spent today. Those that\n" +
			"answer within two seconds are there. `blufio --node NAME status` shows one of\n" +
			"them, `blufio --node NAME doctor` has it examine itself.\n" +
			"Exit code 4: this daemon has no hub, or does not reach it.",
		Example: "  blufio nodes\n  blufio nodes --json | jq -r .nodes[].node",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), nodesTimeout)
			defer cancel()
			n, err := ask(ctx, a, bus.NodeList, bus.NodesQuery{})
			if err != nil {
				return hubFailure(err)
			}
			if n.More {
				a.note("there are more than are shown")
			}
			if a.json {
				return a.printJSON(nodeList{bus.NodesSchema, n})
			}
			return a.print(nodesTable(a.ui(a.out), n))
		},
	}
}

// nodeList is what `nodes --json` prints.
type nodeList struct {
	Schema string `json:"schema"`
	bus.Nodes
}

// nodesTable has a line for each daemon. A name that two share is pointed out.
func nodesTable(u ui, n bus.Nodes) string {
	names := map[string]int{}
	for _, r := range n.Nodes {
		names[r.Node]++
	}
	rows := [][]string{{"", u.dim("node"), u.dim("state"), u.dim("version"), u.dim("up"), u.dim("memory"), u.dim("today"), ""}}
	for _, r := range n.Nodes {
		mark, memory, today, remark := u.ok(), "-", "-", ""
		if r.State != bus.Healthy {
			mark = u.warn()
		}
		if r.RSS != nil {
			memory = size(*r.RSS)
		}
		if r.Today != nil {
			today = r.Today.String()
		}
		switch {
		case names[r.Node] > 1:
			mark, remark = u.bad(), u.yellow("another daemon has this name too")
		case r.Node == n.Self:
			remark = u.dim("this one")
		}
		rows = append(rows, []string{mark, line(r.Node), line(r.State), line(r.Version), span(time.Duration(r.UptimeSeconds) * time.Second), memory, today, remark})
	}
	return table(rows, 5, 6)
}

// checkNode refuses --node for commands that concern the daemon on this machine.
func (a *app) checkNode(cmd *cobra.Command, _ []string) error {
	switch _, ok := cmd.Annotations[throughHub]; {
	case a.node == "":
		return nil
	case !ok:
		return fail(exitUsage, "it works with `blufio status` and `blufio doctor`", "--node does not go with `%s`: that works on this machine's daemon only", cmd.CommandPath())
	case !bus.ValidToken(a.node):
		return fail(exitUsage, "`blufio nodes` lists those on the hub", "--node: %q is no name of a daemon: 1 to 64 of a-z 0-9 - _", a.node)
	}
	return nil
}

// askNode puts a question to the daemon that --node names, through the one on this
// machine.
func askNode[T, R any](ctx context.Context, a *app, lane bus.Call[T, R], req T) (answer R, err error) {
	request, err := json.Marshal(req)
	if err != nil {
		return answer, fmt.Errorf("encode question: %w", err)
	}
	got, err := ask(ctx, a, bus.NodeAsk, bus.NodeQuestion{Node: a.node, Call: lane.Spec().Name, Request: request})
	switch {
	case err != nil:
		return answer, hubFailure(err)
	case got.Error != nil:
		return answer, got.Error.Err(a.node)
	}
	if err := json.Unmarshal(got.Answer, &answer); err != nil {
		return answer, fmt.Errorf("read the answer of %s: %w", a.node, err)
	}
	return answer, nil
}

// hubFailure tells a daemon that is not on the hub, which does not run as far as
// anyone can tell, from a hub that cannot be asked.
func hubFailure(err error) error {
	var e *bus.Error
	if !errors.As(err, &e) {
		return err
	}
	f := explainBus(err, e)
	switch e.Code {
	case bus.CodeNotFound:
		f.code = exitNotRunning
	case bus.CodeUnavailable:
		f.code = exitNoAnswer
	}
	return f
}
