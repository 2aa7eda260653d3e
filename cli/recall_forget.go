// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

type forgetWish struct {
	whose
	query string
	yes   bool
	ids   []string
}

func (a *app) recallForgetCommand() *cobra.Command {
	var w forgetWish
	cmd := &cobra.Command{
		Use:   "forget {ID… | --query TEXT | --all}",
		Short: "Have facts forgotten for good",
		Long: "Have facts forgotten for good, with what they had replaced: nothing of them is left where\n" +
			"facts are kept. The conversation in which they were said is another matter: it is kept for\n" +
			"agent.keep_history, and so are backups. --query means the facts that have all its words,\n" +
			"and shows them first. On a terminal you are asked; elsewhere --yes says that it is meant.\n" +
			"An id may be anybody's, unless --owner is there.",
		Example: "  blufio recall forget note-12-terminal\n  blufio recall forget --query \"boiler code\"\n  blufio recall forget --all --owner telegram:12345 --yes",
		Args: func(cmd *cobra.Command, args []string) error {
			ways := 0
			for _, given := range []bool{len(args) > 0, w.query != "", w.all} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return misuse(cmd, "`%s` needs ids, or --query, or --all, and one of them alone", cmd.CommandPath())
			}
			w.ids = args
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return a.forgetRecall(cmd, w) },
	}
	cmd.Flags().StringVar(&w.owner, "owner", "", "facts of this `PERSON`: a name of [people], or as telegram:12345 (default: you, at the terminal)")
	cmd.Flags().StringVar(&w.query, "query", "", "the facts that have all words of this `TEXT`")
	cmd.Flags().BoolVar(&w.all, "all", false, "everything that is known of the person")
	cmd.Flags().BoolVar(&w.yes, "yes", false, "do not ask")
	return cmd
}

func (a *app) forgetRecall(cmd *cobra.Command, w forgetWish) error {
	ctx := cmd.Context()
	c, err := a.dial(bus.PersonGet, bus.RecallSearch, bus.RecallDrop)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	owner := ""
	if w.owner != "" || len(w.ids) == 0 {
		if owner, err = w.oneOf(ctx, c); err != nil {
			return err
		}
	}
	question := fmt.Sprintf("forget %s for good?", countFacts(len(w.ids)))
	switch {
	case w.all:
		question = fmt.Sprintf("forget all that is known of %s, for good?", line(owner))
	case w.query != "":
		meant, err := meantBy(ctx, c, owner, w.query)
		if err != nil {
			return err
		}
		if len(meant) == 0 && w.stranger != nil {
			return w.stranger
		}
		if len(meant) == 0 {
			return fail(exitFailed, "`blufio recall search` finds what is near", "no fact of %s has all these words", owner)
		}
		a.showMeant(meant)
		for _, e := range meant {
			w.ids = append(w.ids, e.ID)
		}
		question = fmt.Sprintf("forget %s for good?", these(len(meant)))
	}
	if err := a.confirm(cmd, question, w.yes); err != nil {
		return err
	}
	return a.forgetNow(ctx, c, owner, w)
}

// oneOf is the person whose facts are meant, also where all of them are.
func (w *forgetWish) oneOf(ctx context.Context, c *bus.Conn) (string, error) {
	one := whose{owner: w.owner}
	owner, err := one.person(ctx, c)
	w.stranger = one.stranger
	return owner, err
}

// meantBy are the facts that have all words of a query.
func meantBy(ctx context.Context, c *bus.Conn, owner, query string) (meant []bus.RecallEntry, err error) {
	found, err := bus.RecallSearch.Ask(ctx, c, bus.RecallQuery{Owner: owner, Text: query, Limit: bus.RecallMaxHits})
	if err != nil {
		return nil, err
	}
	for _, h := range found.Hits {
		if holds(h.Text+" "+h.About, query) {
			meant = append(meant, h.RecallEntry)
		}
	}
	return meant, nil
}

// holds reports whether all words of the query are in text.
func holds(text, query string) bool {
	words := func(s string) []string {
		return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	}
	have := words(text)
	return !slices.ContainsFunc(words(query), func(w string) bool { return !slices.Contains(have, w) })
}

// showMeant shows, beside the data, what is about to be forgotten.
func (a *app) showMeant(list []bus.RecallEntry) {
	u := a.ui(a.err)
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{e.At.Local().Format("2006-01-02"), shorten(u, line(e.Text)), line(e.ID)})
	}
	_, _ = fmt.Fprint(a.err, table(rows))
}

func countFacts(n int) string { return plural(int64(n), "fact") }

func these(n int) string {
	if n == 1 {
		return "this fact"
	}
	return fmt.Sprintf("these %d facts", n)
}

// recallForgotten is what `recall forget --json` prints.
type recallForgotten struct {
	Schema string `json:"schema"`
	bus.RecallForgotten
}

func (a *app) forgetNow(ctx context.Context, c *bus.Conn, owner string, w forgetWish) error {
	sum := recallForgotten{Schema: recallSchema, RecallForgotten: bus.RecallForgotten{Unknown: []string{}}}
	parts := slices.Collect(slices.Chunk(w.ids, 100))
	if w.all {
		parts = [][]string{nil}
	}
	for i := 0; i < len(parts); i++ {
		ids := parts[i]
		done, err := bus.RecallDrop.Ask(ctx, c, bus.RecallForget{Owner: owner, IDs: ids, All: w.all})
		if err != nil {
			return err
		}
		sum.Count += done.Count
		sum.Unknown = append(sum.Unknown, done.Unknown...)
		if w.all && done.Count > 0 { // as many as one call takes
			parts = append(parts, nil)
		}
	}
	if w.all && sum.Count == 0 && w.stranger != nil {
		return w.stranger
	}
	if a.json {
		if err := a.printJSON(sum); err != nil {
			return err
		}
	} else if sum.Count > 0 || len(sum.Unknown) == 0 {
		if err := a.print(fmt.Sprintf("%s forgotten for good: %s\n", a.ui(a.out).ok(), countFacts(sum.Count))); err != nil {
			return err
		}
	}
	for _, id := range sum.Unknown {
		a.complain(fmt.Sprintf("there is no fact %q", id), "`blufio recall list --all` shows the ids")
	}
	if len(sum.Unknown) > 0 {
		return exit(exitFailed)
	}
	return nil
}
