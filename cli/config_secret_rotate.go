// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) rotateVaultKeyCommand() *cobra.Command {
	var newPassphrase, toKeyFile bool
	cmd := &cobra.Command{
		Use:   "rotate-vault-key",
		Short: "Encrypt every secret anew under a new key, or change the passphrase",
		Long: "Encrypt every secret of the vault anew under a new key; vault.key is made anew too. What\n" +
			"the vault is locked with afterwards is the first that there is of the systemd credential\n" +
			"vault-key, BLUFIO_VAULT_KEY and vault.key, so this also moves a vault from one to another.\n" +
			"While a daemon runs, what it was started with counts, and not this shell's environment.\n\n" +
			"--new-passphrase changes the passphrase, or moves the vault to one: it is asked for twice\n" +
			"without being shown, or read from standard input. Put it into BLUFIO_VAULT_KEY where the\n" +
			"daemon is started, before it starts again. --to-key-file moves the vault to vault.key.\n" +
			"Without a daemon the passphrase of now is BLUFIO_VAULT_KEY, or else asked for.\n\n" +
			"Backups that were made before need the key of their time.",
		Example: "  blufio config rotate-vault-key\n  blufio config rotate-vault-key --new-passphrase\n" +
			"  pass show blufio | blufio config rotate-vault-key --new-passphrase",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if newPassphrase && toKeyFile {
				return misuse(cmd, "--new-passphrase and --to-key-file exclude each other")
			}
			r, err := a.rotation(cmd.Context(), newPassphrase, toKeyFile)
			if err != nil {
				return err
			}
			return a.withVault(cmd.Context(), false, func(v keeper) error {
				out, err := v.Rotate(cmd.Context(), r)
				if err != nil {
					return err
				}
				return a.tellRotation(r, out)
			})
		},
	}
	cmd.Flags().BoolVar(&newPassphrase, "new-passphrase", false, "lock it with a new passphrase, which is asked for or read from standard input")
	cmd.Flags().BoolVar(&toKeyFile, "to-key-file", false, "lock it with vault.key in the data directory")
	return cmd
}

// rotation is what the flags ask for. Without any it names this shell's passphrase, so
// that nobody takes it for the daemon's.
func (a *app) rotation(ctx context.Context, newPassphrase, toKeyFile bool) (r bus.VaultRotation, err error) {
	if err := a.askPassphrase(ctx); err != nil {
		return r, err
	}
	switch {
	case toKeyFile:
		r.To = bus.KeyFile
	case newPassphrase:
		text, err := a.readPassphrase()
		if err != nil {
			return r, err
		}
		r.To, r.Passphrase = bus.KeyPassphrase, bus.Hide(text)
	default:
		if text := a.getenv(serve.PassphraseVariable); text != "" {
			r.Meant = bus.ProvePassphrase(text, rand.Text())
		}
	}
	return r, nil
}

// askPassphrase asks for the passphrase of now where no daemon runs, the environment
// has none and there is somebody to ask.
func (a *app) askPassphrase(ctx context.Context) error {
	tty, ok := terminal(a.in)
	if !ok || a.getenv(serve.PassphraseVariable) != "" {
		return nil
	}
	needed := false
	err := a.withVault(ctx, false, func(v keeper) error {
		if _, live := v.(liveVault); live {
			return nil
		}
		l, err := v.List(ctx, bus.SecretQuery{})
		needed = l.State == bus.VaultLocked && l.Source == bus.KeyPassphrase
		return err
	})
	if err != nil || !needed {
		return err
	}
	text, err := a.promptHidden(tty, "the passphrase of now")
	a.environ = append(a.environ[:len(a.environ):len(a.environ)], serve.PassphraseVariable+"="+text)
	return err
}

// readPassphrase asks twice on a terminal, and reads standard input elsewhere.
func (a *app) readPassphrase() (text string, err error) {
	tty, ok := terminal(a.in)
	if !ok {
		if text, err = readPiped(a.in); err != nil {
			return "", err
		}
		return text, serve.CheckPassphrase(text)
	}
	if text, err = a.promptHidden(tty, "the new passphrase"); err != nil {
		return "", err
	}
	if err := serve.CheckPassphrase(text); err != nil {
		return "", err
	}
	again, err := a.promptHidden(tty, "once more")
	if err == nil && again != text {
		err = fail(exitFailed, "try again", "nothing was changed: the two are not the same")
	}
	return text, err
}

func (a *app) tellRotation(r bus.VaultRotation, out bus.VaultRotated) error {
	if r.To == bus.KeyPassphrase {
		a.warn("from its next start on the daemon needs the new passphrase in "+serve.PassphraseVariable,
			"change it now where the daemon is started: in its unit, its container or its script")
	}
	if out.Next != "" {
		a.note("%s is still there: take it away where the daemon is started, or the next rotation moves the vault there", serve.VaultSourceName(out.Next))
	}
	if out.OldFile != "" {
		a.note("%s opens nothing but older backups now; delete it when you do not need them any more", line(out.OldFile))
	}
	if out.Source == bus.KeyFile {
		a.note("%s is a new one: keep a copy of it apart from your backups; the backups of before need the one of before", serve.VaultSourceName(out.Source))
	}
	if a.json {
		return a.printJSON(out)
	}
	return a.print(fmt.Sprintf("%s %s encrypted anew; the vault is locked with %s\n",
		a.ui(a.out).ok(), plural(int64(out.Secrets), "secret"), serve.VaultSourceName(out.Source)))
}
