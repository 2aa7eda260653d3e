// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

// letterStates are what --state takes.
var letterStates = []string{bus.StateQueued, bus.StateRunning, bus.StatePending, bus.StateDead}

func (a *app) queueCommand() *cobra.Command {
	cmd := group("queue", "Show what waits and what was given up; take it up again or delete it",
		"  blufio queue list\n  blufio queue retry --all\n  blufio queue drop hW4XJq7T2MbN5kWc3rHA6P",
		a.queueListCommand(), a.queueRetryCommand(), a.queueDropCommand())
	cmd.Long = "Messages wait until they are answered, and replies until they are delivered. A message\n" +
		"that the agent crashed on three times and a reply that could not be delivered for days\n" +
		"are kept as dead letters: these commands show them and let you decide."
	return cmd
}

func (a *app) queueListCommand() *cobra.Command {
	var q bus.QueueQuery
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List messages without an answer, replies on their way, and dead letters",
		Long: "List messages that wait (queued) or are worked on (running), replies on their way\n" +
			"(pending), and what was given up (dead): oldest first, messages before replies. The id\n" +
			"is the message's, also for its reply. Texts are shown only with --text.",
		Example: "  blufio queue list\n  blufio queue list --state dead --text\n  blufio queue list --json | jq -r '.letters[].id'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case q.State != "" && !slices.Contains(letterStates, q.State):
				return misuse(cmd, "there is no state %q, only %s", q.State, strings.Join(letterStates, ", "))
			case q.Limit < 1:
				return misuse(cmd, "--limit must be 1 or more")
			}
			return a.listQueue(cmd.Context(), q)
		},
	}
	cmd.Flags().StringVar(&q.State, "state", "", "only letters in this `STATE`: "+strings.Join(letterStates, ", "))
	cmd.Flags().BoolVar(&q.Text, "text", false, "with their text")
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "at most `N` letters")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(letterStates, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) queueRetryCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "retry {ID | --all}",
		Short: "Take dead letters up again",
		Long: "Take dead letters up again. A message goes back into the inbox and is answered as if it\n" +
			"had just come; that its person was told of the failure stays told. A reply goes back to\n" +
			"its channel. Where one of them cannot be taken up, the exit code is 1.",
		Example: "  blufio queue retry hW4XJq7T2MbN5kWc3rHA6P\n  blufio queue retry --all",
		Args:    oneOrAll(&all),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeQueue(cmd.Context(), bus.QueueRetry, "retried", args, nil)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	return cmd
}

func (a *app) queueDropCommand() *cobra.Command {
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "drop {ID | --all}",
		Short: "Delete dead letters for good",
		Long: "Delete dead letters for good: a message with all that is kept of it, a reply without its\n" +
			"message. On a terminal you are asked first; elsewhere --yes says that it is meant. Where\n" +
			"one of them cannot be deleted, the exit code is 1.",
		Example: "  blufio queue drop hW4XJq7T2MbN5kWc3rHA6P\n  blufio queue drop --all --yes",
		Args:    oneOrAll(&all),
		RunE: func(cmd *cobra.Command, args []string) error {
			confirm := func(n int) error { return a.confirm(cmd, fmt.Sprintf("delete %s for good?", letters(n)), yes) }
			return a.changeQueue(cmd.Context(), bus.QueueDrop, "deleted", args, confirm)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// oneOrAll wants one id, or --all.
func oneOrAll(all *bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 || len(args) == 1 == *all {
			return misuse(cmd, "`%s` needs one id, or --all", cmd.CommandPath())
		}
		return nil
	}
}

// queueList is what `queue list --json` prints.
type queueList struct {
	Schema  string       `json:"schema"`
	Letters []bus.Letter `json:"letters"`
	More    bool         `json:"more"` // --limit left some out
}

func (a *app) listQueue(ctx context.Context, q bus.QueueQuery) error {
	c, err := a.dial(bus.QueueList)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	list := queueList{Schema: bus.QueueSchema, Letters: []bus.Letter{}}
	most := q.Limit
	for {
		q.Limit = min(most-len(list.Letters), 500)
		page, err := bus.QueueList.Ask(ctx, c, q)
		if err != nil {
			return err
		}
		list.Letters = append(list.Letters, page.Letters...)
		if list.More = page.Next != ""; !list.More || len(list.Letters) >= most {
			break
		}
		q.After = page.Next
	}
	if a.json {
		return a.printJSON(list)
	}
	if list.More {
		defer a.note("there are more; --limit %d shows twice as many", 2*most)
	}
	return a.print(a.queueTable(list.Letters, q.Text))
}

// queueTable shows letters, one a line, and their text below.
func (a *app) queueTable(list []bus.Letter, text bool) string {
	u := a.ui(a.out)
	if len(list) == 0 {
		return u.ok() + " nothing waits\n"
	}
	head := []string{"ID", "KIND", "STATE", "CHANNEL", "SESSION", "AGE", "TRIES", "ERROR"}
	for i := range head {
		head[i] = u.dim(head[i])
	}
	rows := [][]string{head}
	for _, l := range list {
		state := l.State
		if state == bus.StateDead {
			state = u.red(state)
		}
		rows = append(rows, []string{line(l.ID), line(l.Kind), state, line(l.Channel), line(l.Session),
			span(a.now().Sub(l.Since)), fmt.Sprint(l.Attempts), shorten(u, line(l.Error))})
	}
	lines := strings.SplitAfter(table(rows, 5, 6), "\n")
	if !text {
		return strings.Join(lines, "")
	}
	var b strings.Builder
	b.WriteString(lines[0])
	for i, l := range list {
		b.WriteString(lines[i+1] + "  " + shorten(u, line(l.Text)) + "\n")
	}
	return b.String()
}

func letters(n int) string { return plural(int64(n), "dead letter") }

const perAction = 100 // letters that one call takes

// changeQueue does one thing to the letter named, or to all dead ones, after
// confirm, if there is one, agreed.
func (a *app) changeQueue(ctx context.Context, lane bus.Call[bus.QueueAction, bus.QueueOutcome], done string, ids []string, confirm func(n int) error) error {
	c, err := a.dial(bus.QueueList, lane)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	if len(ids) == 0 {
		if ids, err = deadLetters(ctx, c); err != nil {
			return err
		}
	}
	if confirm != nil && len(ids) > 0 {
		if err := confirm(len(ids)); err != nil {
			return err
		}
	}
	var sum bus.QueueOutcome
	for part := range slices.Chunk(ids, perAction) {
		out, err := lane.Ask(ctx, c, bus.QueueAction{IDs: part})
		if err != nil {
			return err
		}
		sum.Messages += out.Messages
		sum.Replies += out.Replies
		sum.Refused = append(sum.Refused, out.Refused...)
	}
	return a.tellOutcome(sum, done)
}

// deadLetters are the ids of all there are, each once.
func deadLetters(ctx context.Context, c *bus.Conn) (ids []string, err error) {
	seen := map[string]bool{}
	for q := (bus.QueueQuery{State: bus.StateDead, Limit: 500}); ; {
		page, err := bus.QueueList.Ask(ctx, c, q)
		if err != nil {
			return nil, err
		}
		for _, l := range page.Letters {
			if !seen[l.ID] {
				seen[l.ID] = true
				ids = append(ids, l.ID)
			}
		}
		if q.After = page.Next; q.After == "" {
			return ids, nil
		}
	}
}

func (a *app) tellOutcome(sum bus.QueueOutcome, done string) error {
	if a.json {
		if err := a.printJSON(sum); err != nil {
			return err
		}
	} else if sum.Messages+sum.Replies > 0 || len(sum.Refused) == 0 {
		u := a.ui(a.out)
		if err := a.print(fmt.Sprintf("%s %s: %s%s%s\n", u.ok(), done, plural(int64(sum.Messages), "message"), u.sep(), replies(sum.Replies))); err != nil {
			return err
		}
	}
	for _, r := range sum.Refused {
		message := r.Message
		if !strings.Contains(message, r.ID) {
			message = r.ID + ": " + message
		}
		a.complain(message, "`blufio queue list --state dead` shows the ids of dead letters")
	}
	if len(sum.Refused) > 0 {
		return exit(exitFailed)
	}
	return nil
}

func replies(n int) string {
	if n == 1 {
		return "1 reply"
	}
	return fmt.Sprintf("%d replies", n)
}
