// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/backup/restore"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// IsReplaced reports whether path is a directory of files that a restore has replaced.
func IsReplaced(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir() && restore.IsPre(filepath.Base(path))
}

// RestoreBack puts the files back that an earlier restore has replaced: name is that of
// their directory, within the data directory. What the restored database has done meanwhile
// is carried over as with any restore.
func RestoreBack(ctx context.Context, o RestoreOptions, name string) (Restored, error) {
	r := Restored{Archive: filepath.Join(o.DataDir, name), DataDir: o.DataDir, DryRun: o.DryRun, Migrated: map[string][2]int{}, Device: "kept"}
	if o.DryRun {
		return o.rehearseBack(r, name)
	}
	return o.locked(func(ended ended) (Restored, error) {
		r.Ended = string(ended.Outcome)
		if err := o.carryBack(ctx, &r, name); err != nil {
			return r, err
		}
		if err := o.layOutBack(&r, name); err != nil {
			return r, err
		}
		pre := restore.PreName(o.DataDir, o.Now())
		r.Pre = filepath.Join(o.DataDir, pre)
		o.stage("swap")
		return r, restore.Swap(o.DataDir, restore.Intent{Pre: pre, From: name, Old: replacedBack(r.Puts), New: r.Puts})
	})
}

// replacedBack are the names that go when the old files come back: the configuration that the
// restore has left goes with the rest of its backup.
func replacedBack(puts []string) []string {
	names := replacedNames(puts)
	if !slices.Contains(names, RestoredConfig) {
		names = append(names, RestoredConfig)
	}
	return names
}

func (o RestoreOptions) rehearseBack(r Restored, name string) (Restored, error) {
	running, err := Running(o.DataDir)
	if err == nil {
		err = o.layOutBack(&r, name)
	}
	if err != nil {
		return r, &NoRestoreError{Err: err}
	}
	r.Running, r.Pre = running, filepath.Join(o.DataDir, restore.PreName(o.DataDir, o.Now()))
	return r, nil
}

// carryBack opens the old database where it lies, brings it up to date and tells it what the
// restored one has done. There is one of it, as there was before the restore, and no space for
// another is asked of a disk that may be the reason to go back: so from here on it is of this
// version, as every database is that a daemon was started on. Both steps are transactions, and
// ids decide what is told, so this may be cut off and done again. One that is too damaged to be
// opened is put back as it is.
func (o RestoreOptions) carryBack(ctx context.Context, r *Restored, name string) (err error) {
	path := databasePath(filepath.Join(o.DataDir, name))
	if !fileExists(path) {
		return nil
	}
	o.stage("carry over")
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path, Readers: 1, Logger: o.Logger})
	if errors.Is(err, sqlite.ErrCorrupt) {
		r.Unread = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx, schemas()...); err != nil {
		return err
	}
	dir, err := newScratch(os.TempDir(), "blufio-restore-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.remove()) }()
	now, unread, err := o.replaced(ctx, dir.path)
	if err != nil {
		return err
	}
	if now != nil {
		defer func() { err = errors.Join(err, now.Close()) }()
	}
	if unread != nil {
		r.Unread = unread.Error()
	}
	// Its event stream comes back with it, under the epoch that it had.
	return o.carryOver(ctx, r, now, db, !fileExists(filepath.Join(o.DataDir, name, "events")))
}

func (o RestoreOptions) layOutBack(r *Restored, name string) error {
	entries, err := os.ReadDir(filepath.Join(o.DataDir, name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		r.Puts = append(r.Puts, e.Name())
		if e.Name() == archive.DeviceKeyName {
			r.Device = "restored"
		}
	}
	if len(r.Puts) == 0 {
		return fmt.Errorf("there is nothing in %s", filepath.Join(o.DataDir, name))
	}
	o.nameReplaced(r, replacedBack(r.Puts))
	return nil
}
