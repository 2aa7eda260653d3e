// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/spf13/cobra"
)

func (a *app) configReloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the running daemon read its configuration again",
		Long: "Make the running daemon read its configuration again, from the files it was started\n" +
			"with. What can change while it runs counts at once (CONFIG.md says of each key\n" +
			"whether it can); the rest is named, and waits for a restart. A configuration that is\n" +
			"not valid changes nothing. SIGHUP does the same, and tells it in the log.\n\n" +
			"Exit code 0: it was read; 1: it is not valid and nothing has changed; 3: no daemon runs.",
		Example: "  blufio config reload\n  blufio config validate && blufio config reload\n  blufio config reload --json | jq -r '.restart[]'",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.reload(cmd.Context()) },
	}
}

// reloaded is what `blufio config reload --json` prints.
type reloaded struct {
	Schema string `json:"schema"`
	bus.Reloaded
}

func (a *app) reload(ctx context.Context) error {
	r, err := ask(ctx, a, bus.ConfigReload, bus.ReloadRequest{})
	if err != nil {
		return err
	}
	if a.json {
		return errors.Join(a.printJSON(reloaded{bus.ReloadSchema, r}), exitIf(len(r.Problems) > 0))
	}
	if len(r.Problems) > 0 {
		a.note("nothing has changed: the configuration is not valid")
		return problemsOf(r)
	}
	return a.print(a.reloadText(r))
}

func (a *app) reloadText(r bus.Reloaded) string {
	u := a.ui(a.out)
	if len(r.Changed)+len(r.Restart) == 0 {
		return u.ok() + " nothing has changed\n"
	}
	text := ""
	if len(r.Changed) > 0 {
		text += u.ok() + " in force now: " + strings.Join(r.Changed, ", ") + "\n"
	}
	if len(r.Restart) > 0 {
		text += u.yellow("restart the daemon for") + ": " + strings.Join(r.Restart, ", ") + "\n"
	}
	if r.More > 0 {
		text += fmt.Sprintf("and %d keys more\n", r.More)
	}
	return text
}

// problemsOf gives the daemon's problems the form of the command line's own.
func problemsOf(r bus.Reloaded) (problems config.Problems) {
	for _, p := range r.Problems {
		problems = append(problems, config.Problem{Key: p.Key, Message: p.Message, Hint: p.Hint,
			Origin: config.Origin{Source: p.Source, Name: p.Name, Line: p.Line, Column: p.Column}})
	}
	return problems
}
