// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/spf13/cobra"
)

type eventsOptions struct {
	since    string
	seq      int64
	noFollow bool
	list     bool
}

func (a *app) eventsCommand() *cobra.Command {
	var o eventsOptions
	cmd := &cobra.Command{
		Use:   "events [PATTERN]",
		Short: "Show what happens as it happens, and what has happened",
		Long: "Show events as they happen, until Ctrl-C. With --since or --seq those that the stream\n" +
			"has kept come first. A daemon that restarts is followed; nothing is left out or shown\n" +
			"twice, and what cannot be shown is said.\n\n" +
			"PATTERN chooses events by name: turn.completed, turn.* (any one word), budget.> (any\n" +
			"words), > (all). Quote it for the shell. `blufio events --list` names all events. A\n" +
			"name may be written as --json has it, too: evt.turn.completed.\n\n" +
			"Each event is shown with the time when it happened. --since goes by when it was\n" +
			"stored: later, where the stream had to be made anew.\n\n" +
			"With --json each line is an object: {position, time, event, payload} for an event,\n" +
			"{gap: {from, to, why}} for positions that cannot be shown, {epoch} when positions\n" +
			"begin to count anew. There, event is the full name, such as evt.turn.completed, time\n" +
			"is when it was stored, or heard, and payload.time when it happened.",
		Example: "  blufio events\n" +
			"  blufio events --list\n" +
			"  blufio events 'turn.*' --since 1h\n" +
			"  blufio events --seq 1 --no-follow --json | jq -r .event | sort | uniq -c",
		Args:              atMostOne("PATTERN"),
		ValidArgsFunction: completeFacts,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.list {
				return a.listEvents(cmd, strings.Join(args, ""))
			}
			t, err := a.newTail(cmd, o, strings.Join(args, ""))
			if err != nil {
				return err
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return t.run(ctx)
		},
	}
	cmd.Flags().StringVar(&o.since, "since", "", "begin with what was stored within this `DURATION`, such as 1h or 7d")
	cmd.Flags().Int64Var(&o.seq, "seq", 0, "begin with this `POSITION`")
	cmd.Flags().BoolVar(&o.noFollow, "no-follow", false, "show what the stream has kept, and end; without --since or --seq all of it")
	cmd.Flags().BoolVar(&o.list, "list", false, "name all events that there are, or those of PATTERN, and end")
	return cmd
}

// newTail reads what is to be shown.
func (a *app) newTail(cmd *cobra.Command, o eventsOptions, pattern string) (*tail, error) {
	t := &tail{app: a, follow: !o.noFollow, replay: o.noFollow, contact: a.now(), opening: openingTime}
	var err error
	if t.pattern, err = readPattern(cmd, pattern); err != nil {
		return nil, err
	}
	bySeq := cmd.Flags().Changed("seq")
	switch {
	case o.since != "" && bySeq:
		return nil, misuse(cmd, "--since and --seq exclude each other")
	case bySeq && o.seq < 1:
		return nil, misuse(cmd, "--seq counts from 1")
	case bySeq:
		t.replay, t.placed, t.last = true, true, o.seq-1
	case o.since != "":
		long, err := config.ParseDuration(o.since)
		if err != nil || long <= 0 {
			return nil, misuse(cmd, "--since %q is not a duration; write it like 90s, 1h or 7d", o.since)
		}
		at := a.now().Add(-long)
		t.replay, t.since = true, &at
	}
	return t, nil
}

// readPattern reads a pattern that fits an event that there is.
func readPattern(cmd *cobra.Command, text string) (bus.Pattern, error) {
	p, err := bus.ParsePattern(text)
	if err != nil || p.Known() {
		return p, err
	}
	f := misuse(cmd, "no event is called %q", text)
	f.hint = "`blufio events --list` names all events"
	if wider, err := bus.ParsePattern(text + ".*"); err == nil && wider.Known() {
		f.hint = fmt.Sprintf("did you mean '%s.*'? All events are '>'", text)
		if strings.TrimPrefix(text, "evt.") == "*" {
			f.hint = "* is any one word, and names have several: did you mean '>', all events?"
		}
	}
	return p, f
}

// eventName is an event that there is, for scripts.
type eventName struct {
	Event   string `json:"event"`
	Meaning string `json:"meaning"`
}

// listEvents names the events that a pattern chooses. It needs no daemon.
func (a *app) listEvents(cmd *cobra.Command, pattern string) error {
	p, err := readPattern(cmd, pattern)
	if err != nil {
		return err
	}
	u := a.ui(a.out)
	names, rows := []eventName{}, [][]string(nil)
	for _, s := range facts() {
		if p.Match(s.Name) {
			short := strings.TrimPrefix(s.Name, "evt.")
			names = append(names, eventName{s.Name, s.Meaning})
			rows = append(rows, []string{nameColour(u, short)(short), s.Meaning})
		}
	}
	if a.json {
		return a.printJSON(names)
	}
	return a.print(table(rows))
}

// facts are the lanes of all events.
func facts() (specs []*bus.Spec) {
	for _, l := range bus.Contract() {
		if s := l.Spec(); s.Area() == "evt" {
			specs = append(specs, s)
		}
	}
	return specs
}

// completeFacts offers the names of all events.
func completeFacts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range facts() {
		names = append(names, strings.TrimPrefix(s.Name, "evt.")+"\t"+s.Meaning)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// gapLine stands for events that cannot be shown.
type gapLine struct {
	Gap missing `json:"gap"`
}

type missing struct {
	From int64  `json:"from"` // positions, both included
	To   int64  `json:"to"`
	Why  string `json:"why"`
}

// epochLine says that positions count anew from here.
type epochLine struct {
	Epoch string `json:"epoch"`
}

// tellGap says that events are not shown, to people and to scripts.
func (a *app) tellGap(m missing) error {
	what := fmt.Sprintf("event %d is", m.From)
	if m.From != m.To {
		what = fmt.Sprintf("events %d to %d are", m.From, m.To)
	}
	a.note("gap: %s missing: %s", what, line(m.Why))
	if !a.json {
		return nil
	}
	return a.printJSONLine(gapLine{m})
}

func (a *app) tellEpoch(epoch string) error {
	a.note("the daemon has another database, or one that was restored: positions count anew")
	if !a.json {
		return nil
	}
	return a.printJSONLine(epochLine{epoch})
}

// tellEvent prints one event.
func (a *app) tellEvent(e bus.EventRecord) error {
	if a.json {
		return a.printJSONLine(e)
	}
	return a.print(eventLine(a.ui(a.out), e))
}
