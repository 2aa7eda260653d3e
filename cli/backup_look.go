// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) backupVerifyCommand() *cobra.Command {
	var identities []string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Prove that a backup is whole",
		Long: "Read every byte of a backup and hold it against its hash, take the database out to a\n" +
			"scratch directory beside it, open it, check it, and count its rows. Nothing is changed,\n" +
			"and no daemon is needed. Exit code 1 says that it is damaged.",
		Example: "  blufio backup verify blufio-home-20261123T093000Z.tar.zst\n  blufio backup verify FILE.age --identity key.txt",
		Args:    oneArg("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verifyBackup(cmd.Context(), args[0], identities)
		},
	}
	identityFlag(cmd, &identities)
	return cmd
}

func identityFlag(cmd *cobra.Command, identities *[]string) {
	cmd.Flags().StringArrayVar(identities, "identity", nil, "`FILE` with a key of age's that opens it (repeatable)")
}

func (a *app) verifyBackup(ctx context.Context, path string, identities []string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	p := a.newProgress()
	defer p.clear()
	r, err := serve.VerifyBackup(ctx, path, identities, func(done, total int64) { p.tell(bus.BackupVerify, done, total) })
	p.clear()
	switch {
	case err == nil:
		return a.showVerified(path, r)
	case ctx.Err() != nil:
		return fail(exitInterrupted, "", "stopped; nothing was proved")
	case a.json:
		text := err.Error()
		return errors.Join(a.printJSON(verdictOnBackup{Schema: backupVerifySchema, Path: path, Error: &text}), exit(exitFailed))
	}
	return lookFailure(err)
}

// lookFailure is that of a file that was to be read.
func lookFailure(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fail(exitDenied, "a backup is its owner's alone: run as that user", "%w", err)
	}
	if errors.As(err, new(*failure)) { // it says what to do already
		return err
	}
	return &failure{code: exitFailed, err: err, hint: cmp.Or(serve.Hint(err), missingBackup(err))}
}

// missingBackup is what to do about a backup that is not there.
func missingBackup(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "`blufio backup list` names those that the daemon has made; `blufio backup list DIR` those in a directory"
	}
	return ""
}

func (a *app) backupInspectCommand() *cobra.Command {
	var identities []string
	cmd := &cobra.Command{
		Use:     "inspect FILE",
		Short:   "Show what a backup holds",
		Long:    "Show what a backup says of itself: when and by whom it was made, its files and hashes.\nIt is quick and proves nothing; `blufio backup verify` does.",
		Example: "  blufio backup inspect blufio-home-20261123T093000Z.tar.zst\n  blufio backup inspect FILE --json | jq .manifest.rows",
		Args:    oneArg("file"),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := serve.InspectBackup(args[0], identities)
			if err != nil {
				return lookFailure(err)
			}
			return a.showInspected(args[0], r)
		},
	}
	identityFlag(cmd, &identities)
	return cmd
}

// backupsListed is how many files a list names.
const backupsListed = 100

func (a *app) backupListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [DIR]",
		Short: "List the backups, and how they stand",
		Long: "List the backups that the daemon has made by itself, the newest first: when the next is\n" +
			"due, what failed, and how far one is that is being made. With DIR, those in that\n" +
			"directory.",
		Example: "  blufio backup list\n  blufio backup list /mnt/disk\n  blufio backup list --json | jq -r '.files[0].name'",
		Args:    atMostOne("directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.listBackups(cmd.Context(), args)
			if errors.Is(err, fs.ErrNotExist) && l.Dir != "" {
				return errNoDirectory(l.Dir)
			}
			if err != nil {
				return err
			}
			l.Schema = backupListSchema
			return a.showListed(l)
		},
	}
}

func (a *app) listBackups(ctx context.Context, args []string) (listedBackups, error) {
	dir, err := a.data()
	if err != nil {
		return listedBackups{}, err
	}
	if len(args) == 1 {
		return readList(serve.Config{}, dir, args[0])
	}
	running, err := serve.Running(dir)
	if err != nil {
		return listedBackups{}, err
	}
	if running {
		s, err := ask(ctx, a, bus.BackupGet, bus.BackupQuery{Files: backupsListed})
		return listedBackups{Dir: s.Dir, Files: s.Files, More: s.More, State: &s}, err
	}
	cfg, _, err := serve.Load(a.sources(nil))
	if err != nil {
		return listedBackups{}, serveFailure(err)
	}
	l, err := readList(cfg, dir, "")
	if errors.Is(err, fs.ErrNotExist) && cfg.Backup.Dir == "" { // none was made yet
		return listedBackups{Dir: filepath.Join(dir, "backups"), Files: []bus.BackupFile{}}, nil
	}
	return l, err
}

func readList(cfg serve.Config, dataDir, dir string) (l listedBackups, err error) {
	l.Dir, l.Files, l.More, err = serve.ListBackups(cfg, dataDir, dir, backupsListed)
	return l, err
}
