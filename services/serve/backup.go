// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/hooks"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/vault"
)

// drillTime is how long a second daemon may take to show that a backup restores.
const drillTime = 10 * time.Minute

// backups makes the room.
func (o Options) backups(cfg Config, started time.Time, store *sqlite.Store, events *eventlog.Log) (*backup.Service, error) {
	d := backup.Deps{Source: o.backupSource(cfg), Store: store, Events: events, Started: started, Logger: o.Logger, Now: o.Now, Redact: o.Redactor.Redact}
	if o.Program != "" {
		d.Drill = o.drill
	}
	own := o.runner()
	d.Before = func(ctx context.Context, id string) error {
		return own.Run(ctx, hooks.PreBackup, "BLUFIO_BACKUP_ID="+id)
	}
	d.After = func(ctx context.Context, run bus.BackupRun) {
		_ = own.Run(ctx, hooks.PostBackup, backupEnv(run)...) // its failure is a problem of the room of hooks
	}
	return backup.New(cfg.Backup, d)
}

// backupEnv is what a hook is told of a backup. Where one lies that was handed out is known
// to whoever asked for it, perhaps on another machine: it is no path of ours.
func backupEnv(run bus.BackupRun) []string {
	path := ""
	if run.Scheduled {
		path = run.Path
	}
	return []string{"BLUFIO_BACKUP_ID=" + run.ID, "BLUFIO_BACKUP_PATH=" + path, "BLUFIO_BACKUP_BYTES=" + strconv.FormatInt(run.Bytes, 10), "BLUFIO_ERROR=" + run.Error}
}

// drill tries a backup in a process of its own: what it takes of memory goes with it, and it has
// nothing of this daemon but the file, and the vault's key where that is one.
func (o Options) drill(ctx context.Context, path string) error {
	argv := []string{o.Program, "backup", "drill", path, "--plain"}
	if key := filepath.Join(o.DataDir, "vault.key"); fileExists(key) {
		argv = append(argv, "--vault-key", key)
	}
	return backup.Command(ctx, drillTime, argv)
}

// backupSource is what a backup of o.DataDir is made of, but for its database.
func (o Options) backupSource(cfg Config) backup.Source {
	s := backup.Source{Version: o.Version, Node: node(cfg.Daemon.Node), DataDir: o.DataDir, Look: lookIntoCopy, Config: o.configFiles,
		Workspace: cfg.workspace(o.DataDir), Now: o.Now, Device: func() (string, error) {
			device, err := embedded.LoadDevice(o.DataDir)
			if err != nil {
				return "", err
			}
			return device.PublicKey(), nil
		}}
	return s
}

// lookIntoCopy reads of a copied database what only the parts that wrote it know.
func lookIntoCopy(ctx context.Context, copied *sqlite.Store) (archive.Cut, archive.Vault, error) {
	at, err := eventlog.New(copied).State(ctx)
	if err != nil {
		return archive.Cut{}, archive.Vault{}, err
	}
	source, secrets, err := vault.Kept(ctx, copied)
	return archive.Cut{Event: uint64(at.Last), Epoch: at.Epoch}, archive.Vault{Source: source, Secrets: secrets}, err
}

// maxConfigFile bounds what is read of a file of the configuration; larger ones are no such.
const maxConfigFile = 1 << 20

// configFiles are those in force, without the secrets in them. One that cannot be read as
// TOML now is left out, and says so in its place: nobody knows what stands in it.
func (o Options) configFiles() (files []backup.ConfigFile, stripped []string, err error) {
	if o.Loaded == nil {
		return nil, nil, nil
	}
	for _, path := range o.Loaded.Files() {
		clean, keys, err := strippedFile(path)
		if err != nil {
			clean = fmt.Appendf(nil, "# %s was left out of this backup: %q\n", filepath.Base(path), err.Error())
		}
		if o.Redactor != nil {
			clean = []byte(o.Redactor.Redact(string(clean)))
		}
		files = append(files, backup.ConfigFile{Name: filepath.Base(path), Data: clean})
		stripped = append(stripped, keys...)
	}
	return files, stripped, nil
}

func strippedFile(path string) ([]byte, []string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxConfigFile {
		return nil, nil, errors.New("it is too large")
	}
	return config.Stripped(Defaults(), data)
}

// OfflineBackup is a backup of a data directory on which no daemon runs.
type OfflineBackup struct {
	cut  *backup.Cut
	lock *lock
}

// Ended says, in a line for people, what became of a restore that had been cut off and was
// ended first; "" when none was.
func (b *OfflineBackup) Ended() string { return b.lock.ended.words() }

// TakeBackup copies and checks what a backup of o.DataDir is made of, and holds the lock until Close, so that
// no daemon starts meanwhile. It fails with a [*LockedError] while one runs. Of the options
// it needs DataDir, Config, Loaded, Environ, Version and Now.
func TakeBackup(ctx context.Context, o Options, r bus.BackupRequest, tell func(stage string, done, total int64)) (b *OfflineBackup, err error) {
	to, err := archive.ParseRecipients(r.Recipients)
	if err != nil {
		return nil, err
	}
	if _, err := embedded.LoadDevice(o.DataDir); err != nil { // it also checks the directory's mode
		return nil, err
	}
	lock, err := takeLock(o.DataDir)
	if err != nil {
		return nil, err
	}
	if o.Redactor == nil {
		o.Redactor = Redactor(o.Config, o.Environ)
	}
	source, scratch := o.backupSource(o.Config), backup.Scratch(o.DataDir)
	source.Copy = func(ctx context.Context, path string, progress func(done, total int64)) error {
		return sqlite.CopyFile(ctx, databasePath(o.DataDir), path, progress)
	}
	if err := os.RemoveAll(scratch); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	cut, err := source.Take(ctx, backup.Wish{DeviceKey: r.IncludeDeviceKey, Workspace: r.IncludeWorkspace, Recipients: to}, filepath.Join(scratch, "offline"), tell)
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	b = &OfflineBackup{cut: cut, lock: lock}
	if err := cut.Sound(); err != nil { // waited for: whoever called may be somebody else from now on
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Name is a name for the archive's file, and Estimate about how large that can become.
func (b *OfflineBackup) Name() string    { return b.cut.Name() }
func (b *OfflineBackup) Estimate() int64 { return b.cut.Bytes() }

// Write writes the archive to w.
func (b *OfflineBackup) Write(ctx context.Context, w io.Writer, tell func(stage string, done, total int64)) (bus.BackupArchive, string, error) {
	n, sum, err := b.cut.Write(ctx, w, tell)
	return b.cut.Summary(n), sum, err
}

// Close removes what was made on the way and lets the data directory go.
func (b *OfflineBackup) Close() error { return errors.Join(b.cut.Close(), b.lock.release()) }

// BackupFile is an archive's file while it is written.
type BackupFile = archive.Pending

// CreateBackup begins one, and removes from its directory what killed processes have left of
// others; see [archive.Create].
func CreateBackup(path string, force bool) (*BackupFile, error) {
	if node, _, ok := archive.ParseName(filepath.Base(path)); ok {
		same := func(of, _ string) bool { return of == node }
		if err := archive.Sweep(filepath.Dir(path), same); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return archive.Create(path, force)
}

// FreeSpace is how much can be written to the file system of dir.
func FreeSpace(dir string) (int64, error) { return archive.Free(dir) }

// ReadRecipients reads a file of public keys of age's; see [archive.ReadRecipients].
func ReadRecipients(path string) ([]string, error) { return archive.ReadRecipients(path) }

// BackupReport is what was seen of an archive's file.
type BackupReport struct {
	Manifest archive.Manifest
	Summary  bus.BackupArchive
	Tables   int
}

// VerifyBackup proves every byte of an archive, and opens and checks the database in it; identities are
// files of age's keys.
func VerifyBackup(ctx context.Context, path string, identities []string, progress func(done, total int64)) (BackupReport, error) {
	keys, err := readIdentities(identities)
	if err != nil {
		return BackupReport{}, err
	}
	r, err := archive.Verify(ctx, path, archive.Options{Identities: keys, Progress: progress})
	if err != nil {
		return BackupReport{}, err
	}
	return BackupReport{Manifest: r.Manifest, Summary: backup.Summary(r.Manifest, r.Bytes, r.Encrypted), Tables: len(r.Checked.Rows)}, nil
}

// InspectBackup reads what an archive says of itself, and proves nothing.
func InspectBackup(path string, identities []string) (BackupReport, error) {
	keys, err := readIdentities(identities)
	if err != nil {
		return BackupReport{}, err
	}
	m, err := archive.Inspect(path, keys...)
	if err != nil {
		return BackupReport{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return BackupReport{}, err
	}
	return BackupReport{Manifest: m, Summary: backup.Summary(m, info.Size(), len(keys) > 0 && sealed(path)), Tables: len(m.Rows)}, nil
}

// sealed reports whether a file is encrypted.
func sealed(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	begin := make([]byte, 64)
	n, _ := io.ReadFull(f, begin)
	return archive.Encrypted(begin[:n])
}

func readIdentities(files []string) (all []archive.Identity, err error) {
	for _, file := range files {
		ids, err := archive.ReadIdentities(file)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	return all, nil
}

// ListBackups lists a directory's archives, newest first; dir "" is that of the configuration.
func ListBackups(cfg Config, dataDir, dir string, most int) (in string, files []bus.BackupFile, more int, err error) {
	if dir == "" {
		dir = cfg.Backup.Directory(dataDir)
	}
	files, more, err = backup.List(dir, most)
	return dir, files, more, err
}
