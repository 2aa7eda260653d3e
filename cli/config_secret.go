// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) setSecretCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "set-secret NAME",
		Short: "Keep a secret in the vault: an API key, a token",
		Long: "Keep a secret in the vault. It is asked for on the terminal without being shown, or\n" +
			"read from standard input, where one line end behind it is cut off; it is never an\n" +
			"argument. Named like a key of the configuration, such as anthropic.api_key, it counts\n" +
			"from then on, also for a daemon that runs. The environment and flags count more than\n" +
			"the vault, and the vault more than the file.\n\n" +
			"The vault is encrypted in the database, and locked with the first of these that there\n" +
			"is: the systemd credential vault-key, BLUFIO_VAULT_KEY in the environment (a passphrase),\n" +
			"vault.key in the data directory. A file is made on first use; keep a copy of it apart\n" +
			"from the backups, for they cannot be read without it.",
		Example: "  blufio config set-secret anthropic.api_key\n  pass show telegram | blufio config set-secret telegram.bot_token",
		Args:    secretArg, ValidArgsFunction: completeSecrets,
		RunE: func(cmd *cobra.Command, args []string) error { return a.setSecret(cmd, args[0]) },
	}
}

func completeSecrets(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return serve.SecretKeys(), cobra.ShellCompDirectiveNoFileComp
}

// secretArg wants a name, and says why a value is no argument without repeating it.
func secretArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 || len(args) == 1 && strings.Contains(args[0], "=") {
		name, _, _ := strings.Cut(args[0], "=")
		return fail(exitUsage, "type it when you are asked, or pipe it in: … | "+cmd.CommandPath()+" "+name,
			"a secret is never an argument: others on this machine see those, and the shell writes them down")
	}
	return oneArg("name")(cmd, args)
}

func (a *app) setSecret(cmd *cobra.Command, name string) error {
	if err := serve.CheckSecretName(name); err != nil {
		return err
	}
	if !slices.Contains(serve.SecretKeys(), name) {
		a.note("%s is no secret of the configuration; it is kept, and nothing of blufio reads it%s", line(name), meant(name))
	}
	value, err := a.readSecret(name)
	if err != nil {
		return err
	}
	return a.withVault(cmd.Context(), true, func(v keeper) error {
		out, err := v.Set(cmd.Context(), bus.SecretValue{Name: name, Value: bus.Hide(value)})
		if err != nil {
			return err
		}
		if out.Overridden != "" {
			a.warn(out.Overridden+" counts more than the vault: this secret is not used", "take that away and restart the daemon")
		}
		a.tellKey(out)
		return a.tellSecret(out, "is kept in the vault")
	})
}

// tellKey says what a secret is locked with, where somebody may think otherwise.
func (a *app) tellKey(out bus.SecretOutcome) {
	if out.Begun != "" {
		a.note("a new vault was begun, locked with %s", serve.VaultSourceName(out.Begun))
		if out.Begun == bus.KeyFile {
			a.note("keep a copy of that file apart from your backups: they cannot be read without it")
		}
	}
	a.tellNext(out.Next)
}

// tellNext says that a source is there which the vault is not locked with.
func (a *app) tellNext(source string) {
	if source != "" {
		a.note("%s is there and the vault is not locked with it: `blufio config rotate-vault-key` moves it there", serve.VaultSourceName(source))
	}
}

// meant suggests the secret that a name was probably meant to be.
func meant(name string) string {
	if near := config.Nearest(name, serve.SecretKeys()); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// readSecret asks on a terminal, reads standard input elsewhere, and refuses what the
// vault would.
func (a *app) readSecret(name string) (string, error) {
	text, err := "", error(nil)
	if tty, ok := terminal(a.in); ok {
		text, err = a.promptHidden(tty, name)
	} else {
		text, err = readPiped(a.in)
	}
	switch {
	case err != nil:
		return "", err
	case text == "":
		return "", fail(exitUsage, "pipe it in, or run the command on a terminal to be asked", "there is no secret: nothing was given")
	case len(text) > bus.MaxSecretBytes:
		return "", fail(exitUsage, "give the key or the token alone, not a file around it", "the secret is longer than %d bytes, and the vault takes no more", bus.MaxSecretBytes)
	}
	if errors.Is(new(config.Redactor).Add(config.NewSecret(text)), config.ErrShortSecret) {
		a.note("%s is too short to be taken out of logs and errors, should anything repeat it: that takes 8 bytes", line(name))
	}
	return text, serve.CheckSecret(name, text)
}

// readPiped reads everything, without the line end that echo leaves behind.
func readPiped(in io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, bus.MaxSecretBytes+3))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

func (a *app) tellSecret(out bus.SecretOutcome, done string) error {
	if a.json {
		return a.printJSON(out)
	}
	return a.print(a.ui(a.out).ok() + " " + line(out.Name) + " " + done + "\n")
}

func (a *app) deleteSecretCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete-secret NAME",
		Short: "Delete a secret from the vault for good",
		Long: "Delete a secret from the vault for good. On a terminal you are asked first; elsewhere\n" +
			"--yes says that it is meant. A running daemon stops using it at once; where the file\n" +
			"has the same key, that counts again.",
		Example: "  blufio config delete-secret telegram.bot_token\n  blufio config delete-secret openai.api_key --yes",
		Args:    oneArg("name"), ValidArgsFunction: a.completeKept,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := a.vaulted(cmd.Context())
			gone := err == nil && !slices.Contains(names, args[0]) // then there is nothing to ask
			if err := a.confirm(cmd, "delete "+line(args[0])+" for good?", yes || gone); err != nil {
				return err
			}
			return a.withVault(cmd.Context(), false, func(v keeper) error {
				out, err := v.Delete(cmd.Context(), bus.SecretName{Name: args[0]})
				if err != nil {
					return err
				}
				return a.tellSecret(out, "is deleted from the vault")
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// completeKept offers what is in the vault.
func (a *app) completeKept(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		names, _ = a.vaulted(cmd.Context())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) listSecretsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list-secrets",
		Short: "List the names and ages of the secrets in the vault",
		Long: "List the names and ages of the secrets in the vault, and what it is locked with. Values\n" +
			"are never shown.\n\n" +
			"Exit code 0: they can be read; 1: the vault is shut.",
		Example: "  blufio config list-secrets\n  blufio config list-secrets --json | jq -r '.secrets[].name'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withVault(cmd.Context(), false, func(v keeper) error {
				list, err := v.List(cmd.Context(), bus.SecretQuery{})
				if err != nil {
					return err
				}
				return a.printSecrets(list)
			})
		},
	}
}

// secretList is what `list-secrets --json` prints.
type secretList struct {
	Schema string `json:"schema"`
	bus.SecretList
	Beside bool `json:"beside"` // the key lies beside what it protects
}

func (a *app) printSecrets(l bus.SecretList) error {
	beside := l.Source == bus.KeyFile
	shut := l.State == bus.VaultLocked
	if a.json {
		return errors.Join(a.printJSON(secretList{bus.SecretsSchema, l, beside}), exitIf(shut))
	}
	err := a.print(a.secretTable(l, beside))
	if shut {
		return errors.Join(err, fail(exitFailed, l.Hint, "%s", l.Problem))
	}
	a.tellNext(l.Next)
	return err
}

func (a *app) secretTable(l bus.SecretList, beside bool) string {
	u := a.ui(a.out)
	foot := "the vault is locked with " + serve.VaultSourceName(l.Source)
	if beside {
		foot += ", which lies beside what it protects"
	}
	switch {
	case len(l.Secrets) == 0 && l.State == bus.VaultEmpty:
		return "the vault is empty\n"
	case len(l.Secrets) == 0:
		return "nothing is kept; " + foot + "\n"
	}
	rows := [][]string{{u.dim("NAME"), u.dim("AGE"), u.dim("REMARK")}}
	for _, s := range l.Secrets {
		remark := ""
		switch {
		case s.Unreadable:
			remark = u.red("damaged: set it again")
		case s.Overridden != "":
			remark = line(s.Overridden) + " counts more"
		}
		rows = append(rows, []string{line(s.Name), span(a.now().Sub(s.SetAt)), remark})
	}
	if l.Problem != "" {
		return table(rows)
	}
	return table(rows) + u.dim(foot) + "\n"
}

// keeper is a vault: that of the daemon that runs, or of a data directory at rest.
type keeper interface {
	Set(context.Context, bus.SecretValue) (bus.SecretOutcome, error)
	List(context.Context, bus.SecretQuery) (bus.SecretList, error)
	Delete(context.Context, bus.SecretName) (bus.SecretOutcome, error)
	Rotate(context.Context, bus.VaultRotation) (bus.VaultRotated, error)
}
