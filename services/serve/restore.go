// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/backup/restore"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// RestoredConfig is where a restore leaves the archive's configuration, within the data
// directory: it never takes the place of the one that counts.
const RestoredConfig = "restored-config"

// RestoreOptions say what to restore.
type RestoreOptions struct {
	DataDir string
	Environ []string // what the vault is locked with may be there
	Hold    bool     // what would be taken up becomes dead letters
	DryRun  bool     // all but the change itself, beside the data directory
	Logger  *slog.Logger
	Now     func() time.Time

	Stage func(stage string) // hears what is done now; may be nil

	Workspace string // tools.workspace of the configuration in force, where that is known

	keyDir string // where the vault's key file is; default DataDir
}

// Restored says what a restore did, or would do.
type Restored struct {
	Archive   string            `json:"archive"`
	DataDir   string            `json:"data_dir"`
	DryRun    bool              `json:"dry_run"`
	Cut       time.Time         `json:"cut"`
	Node      string            `json:"node"`
	Version   string            `json:"version"` // of the blufio that made the archive
	Bytes     int64             `json:"bytes"`
	Pre       string            `json:"pre,omitempty"`    // where the old files are; "" when there were none
	Ended     string            `json:"ended,omitempty"`  // what became of an earlier restore that had been cut off: done, or back
	Running   bool              `json:"running"`          // a daemon holds the data directory: only a rehearsal comes that far
	Replaces  []string          `json:"replaces"`         // names in the data directory that are moved to Pre
	Puts      []string          `json:"puts"`             // names that take their place, or are new
	Migrated  map[string][2]int `json:"migrated"`         // rooms whose tables were brought up to date: from, to
	Carried   Carried           `json:"carried"`          // from the replaced database
	Vault     VaultAfter        `json:"vault"`            //
	Device    string            `json:"device"`           // kept, restored, or new
	Stripped  []string          `json:"stripped"`         // keys of the configuration that are secrets and were left out
	Config    []string          `json:"config"`           // the archive's configuration files
	ConfigDir string            `json:"config_dir"`       //
	Unread    string            `json:"unread,omitempty"` // why the replaced database could not be read

	Elsewhere string `json:"workspace_elsewhere,omitempty"` // where the agent looks for its files, when that is not where the archive's are put
	Warning   string `json:"warning,omitempty"`             // what went wrong after all was in place
}

// Carried is what the replaced database knew and the restored one was told.
type Carried struct {
	agent.Carried
	Replaced bool `json:"replaced"` // there was a database that could be read
	Parts    int  `json:"parts"`    // of replies on Telegram
	Calls    int  `json:"calls"`    // of models, that cost something since
	Revoked  int  `json:"revoked"`  // keys and tokens that were shut out since
}

// VaultAfter says whether the secrets can be read.
type VaultAfter struct {
	Source  string   `json:"source"`
	Secrets int      `json:"secrets"`
	Closed  []string `json:"closed"` // names of those that cannot be read with what is there
}

// NoRestoreError says why a restore was not begun, or that it was undone, and what the data
// directory holds now: what it did, unless Ended or Half says otherwise.
type NoRestoreError struct {
	Err   error
	Ended string // what became, before it was begun, of an earlier one that had been cut off
	Half  bool   // it was neither ended nor undone; the next start does it
}

func (e *NoRestoreError) Error() string {
	text := e.Err.Error()
	if e.Ended != "" {
		text += "; before that, " + e.Ended
	}
	return text
}

func (e *NoRestoreError) Unwrap() error { return e.Err }

// Archive is one that is open.
type Archive = archive.Opened

// OpenArchive opens an archive; identities are files of age's keys. What needs the caller's
// permissions is done then.
func OpenArchive(ctx context.Context, path string, identities []string, progress func(done, total int64)) (*Archive, error) {
	ids, err := readIdentities(identities)
	if err != nil {
		return nil, err
	}
	return archive.Open(ctx, path, archive.Options{Identities: ids, Progress: progress})
}

// ConfigIn are the configuration files in an archive, in their order.
func ConfigIn(a *Archive) (names []string) {
	for _, f := range a.Manifest().Files {
		if name, ok := strings.CutPrefix(f.Name, archive.ConfigDir); ok {
			names = append(names, name)
		}
	}
	return names
}

// Restore puts what an archive holds in the place of what the data directory does. It
// holds the lock meanwhile. After an error everything is as it was before.
func Restore(ctx context.Context, o RestoreOptions, a *Archive) (Restored, error) {
	if o.DryRun {
		return o.rehearse(ctx, a)
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return Restored{}, fmt.Errorf("make data directory: %w", err)
	}
	return o.locked(func(ended ended) (done Restored, err error) {
		stage := filepath.Join(o.DataDir, restore.Staging)
		defer func() {
			if err != nil && !restore.Pending(o.DataDir) {
				err = errors.Join(err, os.RemoveAll(stage))
			}
		}()
		if done, err = o.prepare(ctx, a, stage); err != nil {
			return done, err
		}
		done.Ended = string(ended.Outcome)
		pre := restore.PreName(o.DataDir, o.Now())
		if len(done.Replaces) > 0 {
			done.Pre = filepath.Join(o.DataDir, pre)
		}
		o.stage("swap")
		err = restore.Swap(o.DataDir, restore.Intent{Pre: pre, From: restore.Staging, Old: replacedNames(done.Puts), New: done.Puts})
		if err == nil {
			failpoint.Hit("restore.done")
		}
		return done, err
	})
}

// locked holds the data directory. Once all is in place nothing that follows makes it undone.
func (o RestoreOptions) locked(use func(ended ended) (Restored, error)) (Restored, error) {
	lock, err := takeLock(o.DataDir)
	if err != nil {
		return Restored{}, &NoRestoreError{Err: err}
	}
	done, err := use(lock.ended)
	let := lock.release()
	if err != nil {
		return Restored{}, &NoRestoreError{Err: err, Ended: lock.ended.words(), Half: restore.Pending(o.DataDir)}
	}
	if let != nil {
		done.Warning = "the data directory may still be locked: " + let.Error()
	}
	return done, nil
}

func (o RestoreOptions) stage(name string) {
	if o.Stage != nil {
		o.Stage(name)
	}
}

// rehearse does what a restore does in a directory of its own.
func (o RestoreOptions) rehearse(ctx context.Context, a *Archive) (r Restored, err error) {
	dir, err := newScratch(os.TempDir(), "blufio-restore-*")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, dir.remove()) }()
	running, err := Running(o.DataDir)
	if err != nil {
		return r, err
	}
	if r, err = o.prepare(ctx, a, filepath.Join(dir.path, restore.Staging)); err != nil {
		return r, &NoRestoreError{Err: err}
	}
	r.DryRun, r.Running = true, running
	if len(r.Replaces) > 0 {
		r.Pre = filepath.Join(o.DataDir, restore.PreName(o.DataDir, o.Now()))
	}
	if restore.Pending(o.DataDir) {
		r.Ended = "pending"
	}
	return r, nil
}

// prepare lays out in stage what is to be put in place, brought up to date, and says
// what that is.
func (o RestoreOptions) prepare(ctx context.Context, a *Archive, stage string) (Restored, error) {
	m := a.Manifest()
	r := Restored{Archive: a.Path(), DataDir: o.DataDir, Cut: m.Created, Node: m.Node, Version: m.Version, Bytes: m.Bytes(),
		Migrated: map[string][2]int{}, Stripped: m.Stripped, Config: ConfigIn(a), Vault: VaultAfter{Source: m.Vault.Source, Secrets: m.Vault.Secrets}}
	if err := notNewer(m.Schema, m.Version); err != nil {
		return r, err
	}
	o.stage("read")
	if err := a.Extract(stage); err != nil {
		return r, err
	}
	failpoint.Hit("restore.extracted")
	o.stage("check")
	database := databasePath(stage)
	if _, err := a.Prove(ctx, database); err != nil {
		return r, err
	}
	failpoint.Hit("restore.proved")
	for _, s := range schemas() {
		if have := m.Schema[s.Room]; have < len(s.Steps) {
			r.Migrated[s.Room] = [2]int{have, len(s.Steps)}
		}
	}
	o.stage("carry over")
	if err := o.bringUpToDate(ctx, &r, database); err != nil {
		return r, err
	}
	return r, o.layOut(&r, m, stage)
}

// notNewer refuses what this program would not understand; by is the version that does.
func notNewer(have map[string]int, by string) error {
	known := map[string]int{}
	for _, s := range schemas() {
		known[s.Room] = len(s.Steps)
	}
	for room, version := range have {
		if version > known[room] {
			return &sqlite.NewerError{Room: room, Have: version, Know: known[room], Program: by}
		}
	}
	return nil
}

// layOut names what is put in place, and what goes for it.
func (o RestoreOptions) layOut(r *Restored, m archive.Manifest, stage string) error {
	r.Puts = []string{archive.DatabaseName}
	if len(r.Config) > 0 {
		if err := os.Rename(filepath.Join(stage, "config"), filepath.Join(stage, RestoredConfig)); err != nil {
			return err
		}
		r.Puts, r.ConfigDir = append(r.Puts, RestoredConfig), filepath.Join(o.DataDir, RestoredConfig)
	}
	switch {
	case m.Has(archive.DeviceKeyName):
		r.Puts, r.Device = append(r.Puts, archive.DeviceKeyName), "restored"
	case fileExists(filepath.Join(o.DataDir, archive.DeviceKeyName)):
		r.Device = "kept"
	default:
		r.Device = "new"
	}
	if fileExists(filepath.Join(stage, "workspace")) {
		r.Puts = append(r.Puts, "workspace")
		if own := filepath.Join(o.DataDir, "workspace"); o.Workspace != "" && filepath.Clean(o.Workspace) != own && !sameFile(o.Workspace, own) {
			r.Elsewhere = o.Workspace
		}
	}
	o.nameReplaced(r, replacedNames(r.Puts))
	if err := syncTree(stage); err != nil {
		return err
	}
	failpoint.Hit("restore.staged")
	return nil
}

// nameReplaced says what goes; the database's log goes with it.
func (o RestoreOptions) nameReplaced(r *Restored, names []string) {
	for _, name := range names {
		if !strings.HasPrefix(name, "blufio.db-") && fileExists(filepath.Join(o.DataDir, name)) {
			r.Replaces = append(r.Replaces, name)
		}
	}
}

// replacedNames are those that go when others come: the database with all that belongs to
// it, and whatever has the name of what comes. What the vault is locked with stays.
func replacedNames(puts []string) []string {
	names := []string{"blufio.db", "blufio.db-wal", "blufio.db-shm", "events"}
	for _, name := range puts {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// syncTree makes what is directly in a directory last. What an archive held deeper down
// was synced when it was extracted.
func syncTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	names := []string{"."}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return fmt.Errorf("sync %s: %w", name, err)
		}
	}
	return nil
}
