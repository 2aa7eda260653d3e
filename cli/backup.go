// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

// Shapes of what `blufio backup … --json` prints.
const (
	backupSchema        = "blufio.backup/1"
	backupVerifySchema  = "blufio.backup.verify/1"
	backupListSchema    = "blufio.backup.list/1"
	backupInspectSchema = "blufio.backup.inspect/1"
)

// stdoutPath is the path of standard output.
const stdoutPath = "-"

// backupWish is what the command was asked for.
type backupWish struct {
	path    string
	force   bool
	request bus.BackupRequest
	encrypt []string // recipients, or files of them
}

func (a *app) backupCommand() *cobra.Command {
	var w backupWish
	cmd := &cobra.Command{
		Use:   "backup [PATH]",
		Short: "Write everything into one file, from which it can be restored",
		Long: "Write database, vault, configuration and public identity, as they are at one moment, into\n" +
			"one file: blufio-NODE-TIME.tar.zst, mode 0600. The daemon goes on meanwhile; without one\n" +
			"the files are read directly. PATH is a file, a directory, or - for standard output;\n" +
			"without it the file lies in the current directory. It has its name when it is whole.\n\n" +
			"The vault in it stays locked: what opens it (vault.key, a passphrase or a systemd\n" +
			"credential) is not in it, and restores nothing by itself. Keep that apart. Neither is\n" +
			"the device key, unless you ask for it. --encrypt encrypts the whole with age.",
		Example: "  blufio backup\n  blufio backup /mnt/disk/ --encrypt age1…\n  blufio backup - | ssh other 'cat > blufio.tar.zst'\n  blufio backup verify blufio-home-20261123T093000Z.tar.zst",
		Args:    atMostOne("path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if near := mistyped(cmd, args[0]); near != "" {
					f := misuse(cmd, "%s is no command of `blufio backup`, and does not look like a path", args[0])
					f.hint = fmt.Sprintf("did you mean `blufio backup %s`? A file of that name is written with a slash: ./%s", near, args[0])
					return f
				}
				w.path = args[0]
			}
			return a.backup(cmd, w)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&w.force, "force", false, "replace a file that is there")
	flags.BoolVar(&w.request.IncludeDeviceKey, "include-device-key", false, "put the device key into it: who has the file then is this daemon")
	flags.BoolVar(&w.request.IncludeWorkspace, "include-workspace", false, "put the agent's files into it")
	flags.StringArrayVar(&w.encrypt, "encrypt", nil, "encrypt it for this `RECIPIENT` of age: age1…, or a file of such lines (repeatable)")
	cmd.AddCommand(a.backupVerifyCommand(), a.backupListCommand(), a.backupInspectCommand(), a.backupDrillCommand())
	return cmd
}

func (a *app) backup(cmd *cobra.Command, w backupWish) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	if err := w.recipients(); err != nil {
		return err
	}
	if w.path == stdoutPath && a.json {
		return misuse(cmd, "--json has no place beside a backup on standard output")
	}
	if w.path == stdoutPath && a.ui(a.out).tty {
		f := misuse(cmd, "a backup is not for a terminal")
		f.hint = "send it on, as in `blufio backup - | ssh other 'cat > blufio.tar.zst'`, or name a file"
		return f
	}
	if err := w.free(); err != nil {
		return err
	}
	src, err := a.archiver(ctx)
	if err != nil {
		return err
	}
	defer src.close(ctx)
	p := a.newProgress()
	defer p.clear()
	b, err := a.writeBackup(ctx, src, w, p)
	p.clear()
	var late *notNamedError
	switch {
	case err == nil || ctx.Err() == nil || errors.As(err, &late):
	case w.path == stdoutPath:
		return fail(exitInterrupted, "make it again", "stopped; what went to standard output is not a whole backup")
	default:
		return fail(exitInterrupted, "", "stopped; there is no backup")
	}
	if err != nil {
		return backupFailure(err)
	}
	return a.showBackup(b)
}

// recipients reads those that are files.
func (w *backupWish) recipients() error {
	for _, text := range w.encrypt {
		if strings.HasPrefix(text, "age1") {
			w.request.Recipients = append(w.request.Recipients, text)
			continue
		}
		more, err := serve.ReadRecipients(text)
		if err != nil {
			return fail(exitUsage, "name a public key of age (age1…), or a file of such lines", "--encrypt %s: %w", text, err)
		}
		w.request.Recipients = append(w.request.Recipients, more...)
	}
	return nil
}

// free refuses a target that is there before anything is made.
func (w backupWish) free() error {
	if w.path == "" || w.path == stdoutPath {
		return nil
	}
	info, err := os.Stat(w.path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil && !info.Mode().IsRegular():
		return fail(exitUsage, "name a file or a directory, or - for standard output", "%s is neither a file nor a directory", w.path)
	case err == nil && !w.force:
		return errTaken(w.path)
	case errors.Is(err, syscall.ENOTDIR):
		return fail(exitUsage, "name a file or a directory, or - for standard output", "%s: there is a file where a directory has to be", w.path)
	case errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(w.path, "/"):
		return errNoDirectory(strings.TrimRight(w.path, "/"))
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(w.path)); errors.Is(err, fs.ErrNotExist) {
			return errNoDirectory(filepath.Dir(w.path))
		}
	}
	return nil
}

func errTaken(path string) error {
	return fail(exitFailed, "name another file, or replace it with --force", "%s is there already", path)
}

func errNoDirectory(dir string) error {
	return fail(exitFailed, "make it first, or mount the disk that it is on", "the directory %s does not exist", dir)
}

// target is where the archive will lie, whose own name is name.
func (w backupWish) target(name string) (string, error) {
	path := w.path
	if path == "" {
		path = "."
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, name)
	}
	return filepath.Abs(path)
}

// backupFailure finds words for what went wrong.
func backupFailure(err error) error {
	var f *failure
	var remote *bus.Error
	switch {
	case errors.As(err, &f), errors.As(err, &remote):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fail(exitDenied, "name a directory that you may write to", "%w", err)
	}
	return &failure{code: exitFailed, err: err, hint: serve.Hint(err)}
}
