// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

// restoreSchema names the form of `restore --json`.
const restoreSchema = "blufio.restore/1"

// restoring is what `blufio restore` was asked for.
type restoring struct {
	dryRun, hold bool
	identities   []string
	configTo     string
}

func (a *app) restoreCommand() *cobra.Command {
	var r restoring
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of what the data directory holds",
		Long: "Put a backup in the place of what the data directory holds. Every byte of it is\n" +
			"verified first, and the daemon has to be stopped. The files that were there are kept\n" +
			"in the data directory, as pre-restore-<time>; name that directory instead of a file to\n" +
			"go back to them. All of them stay for a week, then the newest (backup.keep_replaced).\n" +
			"If anything fails, or the power goes, there is all of the old or all of the new.\n\n" +
			"Nothing is answered twice: what the replaced database has answered since the backup\n" +
			"stays answered, what it has accepted and still owes is carried over, and what it has\n" +
			"spent stays spent. Without one, what was open in the backup is answered; --hold makes\n" +
			"dead letters of it instead, for `blufio queue`. Your configuration is not touched: the\n" +
			"backup's is left in restored-config. The agent's files are put into the data directory,\n" +
			"also where tools.workspace names another. The vault's key is not in a backup: put\n" +
			"vault.key in place yourself.\n\n" +
			"Exit code 0: restored; 65: the backup is of a newer version; 75: a daemon holds the\n" +
			"data directory; 1: not restored, and nothing was changed.",
		Example: "  blufio restore blufio-kitchen-20260101T030000Z.tar.zst\n  blufio restore backup.tar.zst --dry-run\n" +
			"  blufio restore backup.tar.zst.age --identity ~/key.txt\n  blufio restore /var/lib/blufio/pre-restore-20260101T101500Z",
		Args: oneArg("file"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.restore(cmd, args[0], r) },
	}
	f := cmd.Flags()
	f.BoolVar(&r.dryRun, "dry-run", false, "say what would be done, and change nothing")
	f.BoolVar(&r.hold, "hold", false, "answer nothing that was open: make dead letters of it")
	identityFlag(cmd, &r.identities)
	f.StringVar(&r.configTo, "config-to", "", "write the backup's configuration to this `FILE`, which must not exist")
	return cmd
}

func (a *app) restore(cmd *cobra.Command, file string, r restoring) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	dir, err := a.data()
	if err != nil {
		return err
	}
	o := serve.RestoreOptions{DataDir: dir, Environ: a.environ, Hold: r.hold, DryRun: r.dryRun, Logger: slog.New(slog.DiscardHandler), Now: a.now}
	if cfg, _, err := serve.Load(a.sources(nil)); err == nil { // one that is not valid may be why something is restored
		o.Workspace = cfg.Tools.Workspace
	}
	var done serve.Restored
	if serve.IsReplaced(file) {
		done, err = a.restoreBack(ctx, cmd, o, file, r)
	} else {
		done, err = a.restoreArchive(ctx, cmd, o, file, r)
	}
	if err != nil {
		return restoreFailure(ctx, err)
	}
	if a.json {
		return a.printJSON(struct {
			Schema string `json:"schema"`
			serve.Restored
		}{restoreSchema, done})
	}
	return a.print(a.restoreText(done))
}

func (a *app) restoreArchive(ctx context.Context, cmd *cobra.Command, o serve.RestoreOptions, file string, r restoring) (done serve.Restored, err error) {
	p := a.newProgress()
	defer p.clear()
	archive, err := serve.OpenArchive(ctx, file, r.identities, func(n, total int64) { p.tell(bus.BackupVerify, n, total) })
	if err != nil {
		return done, err
	}
	defer archive.Close()
	if err := checkConfigTo(cmd, r.configTo, archive); err != nil {
		return done, err
	}
	o.Stage = func(string) { p.tell(bus.BackupCheck, 0, 0) }
	if err := ownerOf(o.DataDir, func() error { done, err = serve.Restore(ctx, o, archive); return err }); err != nil {
		return done, err
	}
	if r.configTo == "" || r.dryRun || len(done.Config) == 0 {
		return done, nil
	}
	if err := serve.TakeConfig(done, r.configTo); err != nil {
		a.note("%s the backup is restored, but its configuration is not at %s: %v", a.ui(a.err).warn(), r.configTo, err)
		return done, nil
	}
	done.ConfigDir = r.configTo
	return done, nil
}

func (a *app) restoreBack(ctx context.Context, cmd *cobra.Command, o serve.RestoreOptions, file string, r restoring) (done serve.Restored, err error) {
	if len(r.identities) > 0 || r.configTo != "" {
		return done, misuse(cmd, "--identity and --config-to are for backups, not for the files that a restore has replaced")
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return done, err
	}
	within, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return done, err
	}
	if data, err := os.Stat(o.DataDir); err != nil || !os.SameFile(data, within) {
		return done, fail(exitUsage, "name the data directory that it is in with --data-dir", "%s is not in the data directory %s", file, o.DataDir)
	}
	err = asOwner(o.DataDir, func() error { done, err = serve.RestoreBack(ctx, o, filepath.Base(path)); return err })
	return done, err
}

// ownerOf is asOwner also where there is no data directory yet, which will be ours.
func ownerOf(dir string, do func() error) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return do()
	}
	return asOwner(dir, do)
}

// checkConfigTo refuses a place for the configuration before anything is done.
func checkConfigTo(cmd *cobra.Command, path string, archive *serve.Archive) error {
	if path == "" {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return misuse(cmd, "--config-to %s: it exists already, and is not overwritten", path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return misuse(cmd, "--config-to %s: there is no directory %s", path, filepath.Dir(path))
	}
	if n := len(serve.ConfigIn(archive)); n > 1 {
		return misuse(cmd, "--config-to names one file, and the backup has %d of configuration: without the flag they are left in %s", n, serve.RestoredConfig)
	}
	return nil
}

// restoreFailure finds the exit code, and says that nothing was changed where that is so.
func restoreFailure(ctx context.Context, err error) error {
	code, hint := serve.ExitCode(err), serve.Hint(err)
	f := explain(err)
	f.hint = cmp.Or(f.hint, hint, missingBackup(err))
	if code == serve.ExitNewer || code == serve.ExitLocked {
		f.code, f.hint = code, hint
	}
	var not *serve.NoRestoreError
	switch {
	case errors.As(err, &not) && not.Half:
		f.hint = "start the daemon, or restore again: that ends it, with all of the old files or all of the new"
	case ctx.Err() == nil:
	case not != nil && not.Ended != "":
		return fail(exitInterrupted, "", "stopped, and nothing of the backup is in place; but before that, %s", not.Ended)
	default:
		return fail(exitInterrupted, "", "stopped; nothing was changed")
	}
	return f
}

// restoreText is the report. Its last line says how to go back.
func (a *app) restoreText(r serve.Restored) string {
	u := a.ui(a.out)
	did := "restored"
	mark := u.ok()
	if r.DryRun {
		did, mark = "would be restored", u.warn()
	}
	if len(r.Vault.Closed) > 0 || r.Unread != "" { // there is something left to do
		mark = u.warn()
	}
	text := fmt.Sprintf("%s %s %s to %s\n", mark, line(filepath.Base(r.Archive)), did, line(r.DataDir))
	var rows [][]string
	row := func(name, format string, args ...any) {
		rows = append(rows, []string{"  " + u.dim(name), line(fmt.Sprintf(format, args...))})
	}
	if !r.Cut.IsZero() {
		row("as of", "%s, %s, made by blufio %s on %s", r.Cut.Local().Format("2006-01-02 15:04:05"), size(r.Bytes), r.Version, r.Node)
	}
	restoredRows(r, row)
	return text + table(rows) + strings.Join(a.restoreNext(r), "")
}

func restoredRows(r serve.Restored, row func(name, format string, args ...any)) {
	c := r.Carried
	switch {
	case r.Ended == "done":
		row("before", "an earlier restore had been cut off and was brought to its end first: its backup was in place")
	case r.Ended == "back":
		row("before", "an earlier restore had been cut off and was undone first")
	case r.Ended == "pending":
		row("before", "an earlier restore that was cut off is ended first")
	}
	if len(r.Migrated) > 0 {
		row("tables", "brought up to date: %s", strings.Join(slices.Sorted(maps.Keys(r.Migrated)), ", "))
	}
	if r.Unread != "" {
		row("caution", "the replaced database could not be read, so what it has answered since may be answered again: %s", r.Unread)
	}
	if c.Answered+c.Delivered > 0 {
		row("answered", "%s that were open in the backup were answered since, and are not again", several(c.Answered+c.Delivered, "message or reply", "messages or replies"))
	}
	if c.Remembered > 0 {
		row("known", "%s accepted since, and done: should they come again, they are known", several(c.Remembered, "message", "messages"))
	}
	if c.Taken > 0 {
		row("owed", "%s accepted since and still owed: carried over", several(c.Taken, "message or reply", "messages or replies"))
	}
	if c.Held > 0 {
		row("held", "%s held back; see `blufio queue list`", several(c.Held, "message or reply", "messages or replies"))
	} else if c.Open > 0 {
		row("open", "%s taken up at the next start", several(c.Open, "message or reply", "messages or replies"))
	}
	if c.Calls > 0 {
		row("spent", "%s since the backup: booked", several(c.Calls, "call of a model", "calls of models"))
	}
	if c.Revoked > 0 {
		row("revoked", "%s since the backup: still shut out", several(c.Revoked, "key or token", "keys or tokens"))
	}
	restoredRest(r, row)
}

func restoredRest(r serve.Restored, row func(name, format string, args ...any)) {
	switch {
	case len(r.Vault.Closed) > 0:
		row("secrets", "%d of %d cannot be read with what is here: put back %s, or set them anew with `blufio config set-secret`",
			len(r.Vault.Closed), r.Vault.Secrets, vaultKeyOf(r.Vault.Source))
	case r.Vault.Secrets > 0:
		row("secrets", "%d, all of them readable", r.Vault.Secrets)
	}
	switch r.Device {
	case "restored":
		row("device", "the backup's key: tokens and keys that it signed are good")
	case "new":
		row("device", "a new key is made at the next start: issue gateway tokens anew")
	}
	if len(r.Config) > 0 {
		is := "is"
		if r.DryRun {
			is = "would be"
		}
		row("config", "the backup's %s in %s; yours is as it was: take over what you want", is, r.ConfigDir)
	}
	if r.Elsewhere != "" {
		is := "are"
		if r.DryRun {
			is = "would be"
		}
		row("workspace", "the backup's files %s in %s; tools.workspace names %s, which is as it was: take over what you want", is, filepath.Join(r.DataDir, "workspace"), r.Elsewhere)
	}
	if len(r.Stripped) > 0 {
		row("", "secrets were left out of it, set them with `blufio config set-secret`: %s", strings.Join(r.Stripped, ", "))
	}
	if r.Pre != "" {
		row("old files", "%s: %s", r.Pre, strings.Join(r.Replaces, ", "))
	}
	if r.Warning != "" {
		row("caution", "%s", r.Warning)
	}
}

// several counts what plural has no word for.
func several(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// vaultKeyOf names what a vault was locked with when it was backed up.
func vaultKeyOf(source string) string {
	if source == "" {
		return "its key"
	}
	return serve.VaultSourceName(source)
}

// restoreNext are the last lines.
func (a *app) restoreNext(r serve.Restored) (lines []string) {
	u := a.ui(a.out)
	say := func(name, text string) { lines = append(lines, fmt.Sprintf("%s %s\n", u.dim(name), line(text))) }
	switch {
	case r.DryRun && r.Running:
		say("first:", "stop the daemon that runs on "+r.DataDir)
	case !r.DryRun:
		say("next:", "start the daemon")
	}
	if r.Pre != "" && !r.DryRun {
		say("to go back:", "stop the daemon, and `blufio restore "+r.Pre+"`; when you are sure not to, delete that directory")
	}
	return lines
}
