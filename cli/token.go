// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

type tokenOptions struct {
	scopes  []string
	expires string
	subject string
	name    string
	rate    int64
}

func (a *app) tokenCommand() *cobra.Command {
	var short tokenOptions
	cmd := group("token", "Issue, list and revoke tokens for the gateway",
		"  blufio token\n  curl -H \"Authorization: Bearer $(blufio token)\" http://127.0.0.1:3000/v1/sessions\n"+
			"  blufio token list\n  blufio token revoke phone",
		a.tokenIssueCommand(), a.tokenListCommand(), a.tokenRevokeCommand())
	cmd.Long = "Issue, list and revoke tokens for the gateway.\n\n`blufio token` by itself is `blufio token issue`."
	short.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.issueToken(cmd, short) }
	return cmd
}

func (a *app) tokenIssueCommand() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Issue a token and print it",
		Long: "Issue a token and print it, alone, on standard output.\n\n" +
			"The device key signs it, and only what it permits is stored: keep it like a password.\n" +
			"Whoever has it reads and writes the conversations of its subject, until it expires\n" +
			"or `blufio token revoke` ends it.",
		Example: "  blufio token issue\n" +
			"  blufio token issue --scope chat --subject phone --name phone --expires 90d\n" +
			"  blufio token issue --scope metrics --subject prometheus --expires 365d --rate 20",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.issueToken(cmd, o) },
	}
	o.flags(cmd)
	return cmd
}

func (o *tokenOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&o.scopes, "scope", []string{"chat", "status"}, "what it permits, one `SCOPE` or more: "+strings.Join(scopes, ", "))
	_ = cmd.RegisterFlagCompletionFunc("scope", completeScopes) // the flag is there
	cmd.Flags().StringVar(&o.expires, "expires", "24h", "how long it is valid, as a `DURATION` such as 24h or 90d")
	cmd.Flags().StringVar(&o.subject, "subject", terminalOwner, "the `OWNER` whose conversations it opens")
	cmd.Flags().StringVar(&o.name, "name", "", "a `NAME` to list and revoke it by; no other valid token may have it")
	cmd.Flags().Int64Var(&o.rate, "rate", 0, "most requests a minute, a `NUMBER`; 0 for any number (default gateway.token_rate)")
}

// scopes are what a token may permit.
var scopes = []string{"chat", "status", "metrics", "admin"}

// completeScopes offers scopes, also behind a comma.
func completeScopes(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	before := typed[:strings.LastIndexByte(typed, ',')+1]
	var found []string
	for _, s := range scopes {
		found = append(found, before+s)
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) issueToken(cmd *cobra.Command, o tokenOptions) error {
	seconds, err := validFor(o.expires, "")
	if err != nil {
		return err
	}
	request := bus.TokenRequest{Subject: o.subject, Scopes: o.scopes, Seconds: seconds, Name: o.name}
	if cmd.Flags().Changed("rate") {
		request.Rate = &o.rate
	}
	return a.printToken(cmd.Context(), request)
}

func (a *app) printToken(ctx context.Context, request bus.TokenRequest) error {
	token, err := ask(ctx, a, bus.TokenIssue, request)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(token)
	}
	return a.print(token.Token + "\n")
}
