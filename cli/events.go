// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/spf13/cobra"
)

func (a *app) eventsCommand() *cobra.Command {
	var since string
	var seq int64
	var noFollow bool
	cmd := &cobra.Command{
		Use:   "events [PATTERN]",
		Short: "Watch what the agent does, live and replayed",
		Long: "Prints events as they happen until Ctrl-C. With --since or --seq it first replays what the stream has kept.\n" +
			"PATTERN names events: turn.completed, turn.* (one word), budget.> (the rest). bus/EVENTS.md lists them all.\n" +
			"What the stream no longer holds is said, never left out in silence.",
		Example:           "  blufio events\n  blufio events 'turn.*' --since 1h\n  blufio events --seq 1 --no-follow --json",
		Args:              atMostOne("PATTERN"),
		ValidArgsFunction: completeFacts,
		RunE: func(cmd *cobra.Command, args []string) error {
			t := &tail{app: a, follow: !noFollow}
			if len(args) > 0 {
				var err error
				if t.pattern, err = bus.ParsePattern(args[0]); err != nil {
					return err
				}
				if !anyFact(t.pattern) {
					return misuse(cmd, "no event is called %q; bus/EVENTS.md lists them, and Tab completes", args[0])
				}
			}
			if err := t.begin(cmd, since, seq); err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return t.run(ctx)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "replay what was stored this long ago or later, as 1h or 7d")
	cmd.Flags().Int64Var(&seq, "seq", 0, "replay from this position on")
	cmd.Flags().BoolVar(&noFollow, "no-follow", false, "replay and end; without --since or --seq all that is kept")
	return cmd
}

// completeFacts offers the names of all events.
func completeFacts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, l := range bus.Contract() {
		if s := l.Spec(); s.Kind == bus.KindDurable {
			names = append(names, strings.TrimPrefix(s.Name, "evt.")+"\t"+s.Meaning)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// anyFact reports whether a pattern fits an event that there is.
func anyFact(pattern bus.Pattern) bool {
	return slices.ContainsFunc(bus.Contract(), func(l bus.Lane) bool {
		return l.Spec().Kind == bus.KindDurable && pattern.Match(l.Spec().Name)
	})
}

// begin reads where the replay starts.
func (t *tail) begin(cmd *cobra.Command, since string, seq int64) error {
	fromSeq := cmd.Flags().Changed("seq")
	switch {
	case since != "" && fromSeq:
		return misuse(cmd, "use --since or --seq, not both")
	case fromSeq && seq < 1:
		return misuse(cmd, "--seq counts from 1")
	case fromSeq:
		t.replay, t.last = true, seq-1
	case since != "":
		d, err := config.ParseDuration(since)
		if err != nil || d <= 0 {
			return misuse(cmd, "--since %q is not a duration; write it like 90s, 1h or 7d", since)
		}
		at := t.app.now().Add(-d)
		t.replay, t.since = true, &at
	case !t.follow:
		t.replay = true
	}
	return nil
}

// redialEvery is the pause between looks for a daemon that has gone.
const redialEvery = 200 * time.Millisecond

// run prints until it is interrupted, also across restarts of the daemon.
func (t *tail) run(ctx context.Context) error {
	for first := true; ; first = false {
		err := t.session(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && !t.follow:
			return nil
		case err != nil && (first || !t.follow):
			return err
		case first || err == nil:
			t.app.note("connection lost, trying again …")
		}
		t.replay = true // what is missed meanwhile
		select {
		case <-time.After(redialEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// gap says that events are missing for good.
func (t *tail) gap(from, to int64) error {
	if from > to {
		return nil
	}
	if t.app.json {
		return t.app.printJSONLine(map[string]any{"gap": map[string]int64{"from": from, "to": to}})
	}
	t.app.note("gap: the events %d to %d are no longer kept", from, to)
	return nil
}

// show prints one event, if it is wanted.
func (t *tail) show(e bus.EventRecord) error {
	if !t.pattern.Match(e.Event) {
		return nil
	}
	if t.app.json {
		return t.app.printJSONLine(e)
	}
	u := t.app.ui(t.app.out)
	return t.app.print(fmt.Sprintf("%s %s  %s  %s\n", u.dim(e.Time.Local().Format("2006-01-02 15:04:05")),
		u.dim(fmt.Sprintf("#%d", e.Position)), eventName(u, strings.TrimPrefix(e.Event, "evt.")), line(eventDetails(e.Payload))))
}
