// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

func (a *app) messageCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "message ID",
		Short:   "Show what became of a message",
		Long:    "Show what became of a message: its state, its text and, once there is one, its reply.",
		Example: "  blufio message hW4XJq7T2MbN5kWc3rHA6P\n  blufio message --json hW4XJq7T2MbN5kWc3rHA6P | jq -r .reply",
		Args:    oneArg("message id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := ask(cmd.Context(), a, bus.MessageGet, bus.MessageQuery{ID: args[0]})
			if bus.CodeOf(err) == bus.CodeNotFound {
				return fail(exitFailed, "`blufio send --no-wait` prints a message's id; a message is kept for agent.keep_history", "%w", err)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			return a.print(a.describe(r))
		},
	}
}

// describe shows a message as a short table with its text and reply below.
func (a *app) describe(r bus.MessageRecord) string {
	u, now := a.ui(a.out), a.now()
	rows := [][]string{
		{u.dim("id"), r.ID},
		{u.dim("session"), r.Session + " (" + r.Channel + ")"},
		{u.dim("state"), r.State},
		{u.dim("received"), moment(r.ReceivedAt, now)},
	}
	if r.FinishedAt != nil {
		rows = append(rows, []string{u.dim("finished"), moment(*r.FinishedAt, now)})
	}
	if r.Error != "" {
		rows = append(rows, []string{u.dim("error"), string(r.Error)})
	}
	for _, row := range rows {
		row[1] = line(row[1])
	}
	out := table(rows) + "\n" + u.dim("text") + "\n" + clean(r.Text) + "\n" // text is cleaned here: the rest is ours
	if r.Reply != "" {
		out += "\n" + u.dim("reply") + "\n" + clean(r.Reply) + "\n"
	}
	return out
}
