// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

// recallSchema names the shape of what `blufio recall … --json` prints, and of an export.
const recallSchema = "blufio.recall/1"

func (a *app) recallCommand() *cobra.Command {
	cmd := group("recall", "Look at what the agent remembers of people, add to it, and have it forget",
		"  blufio recall search boiler\n  blufio recall add \"the boiler code is 4711\" --about \"boiler code\"\n  blufio recall forget --query \"boiler code\"",
		a.recallSearchCommand(), a.recallListCommand(), a.recallAddCommand(), a.recallForgetCommand(),
		a.recallExportCommand(), a.recallImportCommand(), a.recallStatusCommand())
	cmd.Long = "The agent remembers facts about each person it talks to, beyond the conversation they were\n" +
		"said in. These commands show them, add to them and have them forgotten, for good.\n" +
		"A person is an owner on a channel, as in telegram:12345, or a name of [people] in\n" +
		"blufio.toml. Without --owner it is whoever uses `blufio send` and `blufio shell`."
	return cmd
}

// whose is the choice of a person.
type whose struct {
	owner string
	all   bool

	stranger error // the person is none that the daemon knows
}

func (w *whose) flags(cmd *cobra.Command, all string) {
	cmd.Flags().StringVar(&w.owner, "owner", "", "facts of this `PERSON`: a name of [people], or as telegram:12345 (default: you, at the terminal)")
	if all != "" {
		cmd.Flags().BoolVar(&w.all, "all", false, all)
		cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
			if w.all && w.owner != "" {
				return misuse(cmd, "--all is everybody, and --owner is one")
			}
			return nil
		}
	}
}

// person asks the daemon who that is, "" for everybody. Of one that it does not know
// there may be facts all the same: [people] was another once. Are there none, it was a
// slip, and stranger says so.
func (w *whose) person(ctx context.Context, c *bus.Conn) (string, error) {
	if w.all {
		return "", nil
	}
	name := w.owner
	if name == "" {
		name = terminalChannel + ":" + terminalOwner
	}
	p, err := bus.PersonGet.Ask(ctx, c, bus.PersonQuery{Name: name})
	if bus.CodeOf(err) == bus.CodeNotFound {
		w.stranger = err
		return name, nil
	}
	return p.Name, err
}

// dialAbout reaches the daemon to ask about facts, and finds out whose are meant.
func (a *app) dialAbout(ctx context.Context, w *whose, about bus.Lane) (c *bus.Conn, owner string, err error) {
	if c, err = a.dial(bus.PersonGet, about); err != nil {
		return nil, "", err
	}
	if owner, err = w.person(ctx, c); err != nil {
		hangUp(ctx, c)
		return nil, "", err
	}
	return c, owner, nil
}

func (a *app) recallSearchCommand() *cobra.Command {
	var w whose
	limit := 10
	cmd := &cobra.Command{
		Use:   "search TEXT",
		Short: "Find what is remembered that has to do with a text",
		Long: "Find what is remembered that has to do with a text, best first, as the agent finds it\n" +
			"for a message. The score says how well a fact fits, within one answer; FOUND BY says\n" +
			"whether the same words, a near meaning (vector) or both have found it.",
		Example: "  blufio recall search boiler\n  blufio recall search \"what does ann drink\" --owner telegram:12345\n  blufio recall search tea --all --json | jq -r '.hits[].text'",
		Args:    someText,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > bus.RecallMaxHits {
				return misuse(cmd, "--limit must be 1 to %d", bus.RecallMaxHits)
			}
			return a.searchRecall(cmd.Context(), w, strings.Join(args, " "), limit)
		},
	}
	w.flags(cmd, "facts of everybody")
	cmd.Flags().IntVar(&limit, "limit", limit, "at most `N` facts")
	return cmd
}

// someText wants words.
func someText(cmd *cobra.Command, args []string) error {
	if strings.TrimSpace(strings.Join(args, "")) == "" {
		return misuse(cmd, "`%s` needs a text", cmd.CommandPath())
	}
	return nil
}

// recallFound is what `recall search --json` prints.
type recallFound struct {
	Schema string `json:"schema"`
	bus.RecallHits
}

func (a *app) searchRecall(ctx context.Context, w whose, text string, limit int) error {
	c, owner, err := a.dialAbout(ctx, &w, bus.RecallSearch)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	found, err := bus.RecallSearch.Ask(ctx, c, bus.RecallQuery{Owner: owner, Text: text, Limit: limit})
	if err != nil {
		return err
	}
	if len(found.Hits) == 0 && w.stranger != nil {
		return w.stranger
	}
	if a.json {
		found.Hits = slices.Concat([]bus.RecallHit{}, found.Hits)
		return a.printJSON(recallFound{recallSchema, found})
	}
	u := a.ui(a.out)
	if len(found.Hits) == 0 {
		return a.print("nothing is remembered about that\n")
	}
	rows := [][]string{factHead(u, w.all, "SCORE", "FOUND BY")}
	for _, h := range found.Hits {
		rows = append(rows, factRow(u, w.all, h.RecallEntry, fmt.Sprintf("%.3f", h.Score), line(h.By)))
	}
	return a.print(table(rows, 0))
}

// factHead and factRow are a table's line of a fact, behind what is special to the table.
func factHead(u ui, owners bool, before ...string) []string {
	head := append(before, "SAID")
	if owners {
		head = append(head, "OWNER")
	}
	head = append(head, "ABOUT", "TEXT", "ID")
	for i := range head {
		head[i] = u.dim(head[i])
	}
	return head
}

func factRow(u ui, owners bool, e bus.RecallEntry, before ...string) []string {
	row := append(before, e.At.Local().Format("2006-01-02"))
	if owners {
		row = append(row, line(e.Owner))
	}
	return append(row, dash(line(e.About)), shorten(u, line(e.Text)), line(e.ID))
}

// dash stands for nothing.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) recallListCommand() *cobra.Command {
	var w whose
	var f factFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is remembered, the oldest first",
		Long: "List what is remembered, the oldest first. A newer fact about the same has replaced an\n" +
			"older one: with --superseded such history is shown too, marked as old. SOURCE is who\n" +
			"wanted it remembered: the person, the model, or a look back at a conversation (session).",
		Example: "  blufio recall list\n  blufio recall list --owner me --about \"boiler code\" --superseded\n  blufio recall list --all --json | jq '.entries | length'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.source != "" && !slices.Contains(factSources, f.source):
				return misuse(cmd, "there is no source %q, only %s", f.source, strings.Join(factSources, ", "))
			case f.limit < 1:
				return misuse(cmd, "--limit must be 1 or more")
			}
			return a.listRecall(cmd.Context(), w, f)
		},
	}
	w.flags(cmd, "facts of everybody")
	cmd.Flags().StringVar(&f.source, "source", "", "only facts from this `SOURCE`: "+strings.Join(factSources, ", "))
	cmd.Flags().StringVar(&f.about, "about", "", "only facts about this `TOPIC`")
	cmd.Flags().BoolVar(&f.history, "superseded", false, "with what newer facts have replaced")
	cmd.Flags().IntVar(&f.limit, "limit", 100, "at most `N` facts")
	_ = cmd.RegisterFlagCompletionFunc("source", cobra.FixedCompletions(factSources, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// factSources are what --source takes.
var factSources = []string{bus.RecallPerson, bus.RecallModel, bus.RecallSession}

type factFilter struct {
	source, about string
	history       bool
	limit         int
}

// recallList is what `recall list --json` prints.
type recallList struct {
	Schema  string            `json:"schema"`
	Entries []bus.RecallEntry `json:"entries"`
	More    bool              `json:"more"` // --limit left some out
}

func (a *app) listRecall(ctx context.Context, w whose, f factFilter) error {
	c, owner, err := a.dialAbout(ctx, &w, bus.RecallList)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	list := recallList{Schema: recallSchema, Entries: []bus.RecallEntry{}}
	err = eachFact(ctx, c, bus.RecallPageQuery{Owner: owner, About: f.about, History: f.history}, func(e bus.RecallEntry) (bool, error) {
		if f.source != "" && e.Source != f.source {
			return true, nil
		}
		if list.More = len(list.Entries) >= f.limit; !list.More {
			list.Entries = append(list.Entries, e)
		}
		return !list.More, nil
	})
	if err != nil {
		return err
	}
	if len(list.Entries) == 0 && w.stranger != nil {
		return w.stranger
	}
	if a.json {
		return a.printJSON(list)
	}
	if list.More {
		defer a.note("there are more; --limit %d shows twice as many", 2*f.limit)
	}
	return a.print(a.factTable(list.Entries, w.all))
}

func (a *app) factTable(list []bus.RecallEntry, owners bool) string {
	u := a.ui(a.out)
	if len(list) == 0 {
		return "nothing is remembered\n"
	}
	rows := [][]string{factHead(u, owners, "SOURCE", "WEIGHT", "TIMES")}
	for _, e := range list {
		source := line(e.Source)
		if e.SupersededBy != "" {
			source += u.dim(" (old)")
		}
		rows = append(rows, factRow(u, owners, e, source, fmt.Sprintf("%.2f", e.Importance), fmt.Sprint(e.Seen)))
	}
	return table(rows, 1, 2)
}

// eachFact calls fn with one fact after another, page by page, until fn wants no more.
func eachFact(ctx context.Context, c *bus.Conn, q bus.RecallPageQuery, fn func(bus.RecallEntry) (more bool, err error)) error {
	q.Limit = bus.RecallPageMax
	for {
		page, err := bus.RecallList.Ask(ctx, c, q)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if more, err := fn(e); err != nil || !more {
				return err
			}
		}
		if q.After = page.Next; q.After == "" {
			return nil
		}
	}
}

func (a *app) recallAddCommand() *cobra.Command {
	var w whose
	fact := bus.RecallAdd{Source: bus.RecallPerson}
	cmd := &cobra.Command{
		Use:   "add TEXT",
		Short: "Have a fact remembered",
		Long: "Have a fact remembered, as a short sentence that is understood by itself. With --about it\n" +
			"replaces what was known about the same; what says the same as before is one fact, said\n" +
			"once more. Important facts go before others, and are given up last.",
		Example: "  blufio recall add \"the boiler code is 4711\" --about \"boiler code\"\n  blufio recall add \"Ann is allergic to nuts\" --importance 1 --owner telegram:12345",
		Args:    someText,
		RunE: func(cmd *cobra.Command, args []string) error {
			if fact.Importance < 0 || fact.Importance > 1 {
				return misuse(cmd, "--importance must be 0 to 1")
			}
			fact.ID, fact.Text = "cli-"+rand.Text(), strings.TrimSpace(strings.Join(args, " "))
			return a.addRecall(cmd.Context(), w, fact)
		},
	}
	w.flags(cmd, "")
	cmd.Flags().StringVar(&fact.About, "about", "", "the one `TOPIC` that it is the value of: it replaces what was known about it")
	cmd.Flags().Float64Var(&fact.Importance, "importance", 0.8, "`WEIGHT` from 0 to 1")
	return cmd
}

// recallAdded is what `recall add --json` prints.
type recallAdded struct {
	Schema string `json:"schema"`
	bus.RecallAdded
}

func (a *app) addRecall(ctx context.Context, w whose, fact bus.RecallAdd) error {
	c, err := a.dial(bus.PersonGet, bus.RecallKeep)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	name := w.owner
	if name == "" {
		name = terminalChannel + ":" + terminalOwner
	}
	p, err := bus.PersonGet.Ask(ctx, c, bus.PersonQuery{Name: name}) // a slip would make a person that nobody is
	if err != nil {
		return err
	}
	fact.Owner = p.Name
	added, err := bus.RecallKeep.Ask(ctx, c, fact)
	if err != nil {
		return err
	}
	if a.json {
		added.Superseded = slices.Concat([]string{}, added.Superseded)
		return a.printJSON(recallAdded{recallSchema, added})
	}
	u := a.ui(a.out)
	words := "remembered"
	switch {
	case added.Merged:
		words = fmt.Sprintf("known already, said %s now", plural(int64(added.Entry.Seen), "time"))
	case len(added.Superseded) > 0:
		words += u.sep() + "it replaces " + plural(int64(len(added.Superseded)), "older fact")
	}
	return a.print(fmt.Sprintf("%s %s: %s\n", u.ok(), words, line(added.Entry.ID)))
}

func (a *app) recallStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how much is remembered, and how it is searched",
		Long: "Show how much is remembered, who makes the vectors that meanings are compared by, and how\n" +
			"many of them are still to be made, as after another model was configured.",
		Example: "  blufio recall status\n  blufio recall status --json | jq .pending",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := ask(cmd.Context(), a, bus.RecallGet, bus.RecallStatusQuery{})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Schema string `json:"schema"`
					bus.RecallStatus
				}{recallSchema, st})
			}
			return a.print(a.recallStatus(st))
		},
	}
}

func (a *app) recallStatus(st bus.RecallStatus) string {
	u := a.ui(a.out)
	if !st.Enabled {
		return u.off() + " recall is switched off: recall.enable in blufio.toml\n"
	}
	embedder := line(st.Kind)
	if st.Embedder != "" {
		embedder += " (" + line(st.Embedder) + ")"
	}
	vectors := "all made"
	if st.Pending > 0 {
		vectors = fmt.Sprintf("%d still to be made", st.Pending)
	}
	text := table([][]string{
		{u.bold("facts"), fmt.Sprintf("%d of %d%sand %d that were replaced", st.Entries, st.Limit, u.sep(), st.History)},
		{u.bold("meanings by"), embedder}, {u.bold("vectors"), vectors},
		{u.bold("in memory"), fmt.Sprintf("%d vectors%s%s of %s", st.Indexed, u.sep(), size(st.IndexBytes), size(st.IndexLimit))},
	})
	if st.Problem != "" {
		text += u.warn() + " only words are compared: " + line(st.Problem) + "\n"
	}
	return text
}
