// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

const shortID = 8 // characters of a token's id that tell it from the others

func (a *app) tokenListCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens that are valid",
		Long: "List the tokens that are valid, the latest first. The last use is known to the minute.\n" +
			"With --all, those of the last week that are no longer valid are listed too: they are\n" +
			"expired, revoked, or void, which is signed by a device key that is no longer used.",
		Example: "  blufio token list\n  blufio token list --all\n  blufio token list --json | jq -r '.tokens[] | select(.last_used == null) | .id'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tokens, err := a.tokens(cmd.Context(), all)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(tokenList{Schema: bus.TokenSchema, Tokens: tokens})
			}
			return a.print(tokenTable(a.ui(a.out), tokens, a.now()))
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those that are no longer valid")
	return cmd
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke {ID | NAME}",
		Short: "Refuse a token from now on",
		Long: "Refuse a token from now on, and end what it has open. The beginning of the id is enough\n" +
			"if no other begins so, and so is the name. A token that is not valid any more stays as\n" +
			"it is, and the exit code is 0 then too.",
		Example:           "  blufio token revoke phone\n  blufio token revoke q5x2mwk7",
		Args:              oneArg("id or name"),
		ValidArgsFunction: a.completeToken,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := ask(cmd.Context(), a, bus.TokenRevoke, bus.TokenChoice{Token: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(t)
			}
			u := a.ui(a.out)
			return a.print(fmt.Sprintf("%s %s: %s%s\n", u.ok(), t.State, t.ID, describe(t)))
		},
	}
}

// describe tells a token from others for people.
func describe(t bus.TokenRecord) string {
	if t.Name != "" {
		return " (" + line(t.Name) + ", subject " + line(t.Subject) + ")"
	}
	return " (subject " + line(t.Subject) + ")"
}

// completeToken offers the names and ids of the tokens that are valid, when a daemon
// answers at once.
func (a *app) completeToken(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), connectTimeout)
	defer cancel()
	tokens, err := a.tokens(ctx, false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []string
	named := map[string]int{}
	for _, t := range tokens {
		named[t.Name]++
	}
	for _, t := range tokens {
		word := t.Name
		if word == "" || named[word] > 1 {
			word = t.ID
		}
		found = append(found, word+"\t"+strings.Join(t.Scopes, ",")+describe(t))
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// tokenList is what `token list --json` prints.
type tokenList struct {
	Schema string            `json:"schema"`
	Tokens []bus.TokenRecord `json:"tokens"`
}

// tokens asks for all pages.
func (a *app) tokens(ctx context.Context, all bool) ([]bus.TokenRecord, error) {
	c, err := a.dial(bus.TokenList)
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, c)
	found := []bus.TokenRecord{}
	for q := (bus.TokenQuery{All: all, Limit: 500}); ; {
		page, err := bus.TokenList.Ask(ctx, c, q)
		if err != nil {
			return nil, err
		}
		found = append(found, page.Tokens...)
		if q.After = page.Next; q.After == "" {
			return found, nil
		}
	}
}

// tokenTable shows tokens, one a line of 80 columns as long as names are short; when all
// of them are valid, it does not say so of each.
func tokenTable(u ui, tokens []bus.TokenRecord, now time.Time) string {
	if len(tokens) == 0 {
		return u.ok() + " no token is valid\n"
	}
	head := []string{"ID", "NAME", "SUBJECT", "SCOPES", "PER MIN", "EXPIRES", "LAST USED", "STATE"}
	width := len(head)
	if !slices.ContainsFunc(tokens, func(t bus.TokenRecord) bool { return t.State != bus.TokenStateValid }) {
		width--
	}
	for i := range head {
		head[i] = u.dim(head[i])
	}
	rows := [][]string{head[:width]}
	for _, t := range tokens {
		state, rate := u.green(line(t.State)), "-"
		if t.State != bus.TokenStateValid {
			state = u.yellow(line(t.State))
		}
		if t.Rate > 0 {
			rate = strconv.FormatInt(t.Rate, 10)
		}
		row := []string{line(t.ID[:min(len(t.ID), shortID)]), line(t.Name), line(t.Subject), strings.Join(t.Scopes, ","), rate,
			ahead(t.Expires, now), ago(t.LastUsed, now), state}
		rows = append(rows, row[:width])
	}
	return table(rows, 4)
}

// ahead writes how long after now t is, "in 3d 4h", or how long ago it was.
func ahead(t, now time.Time) string {
	if t.After(now) {
		return "in " + span(t.Sub(now))
	}
	return ago(&t, now)
}
