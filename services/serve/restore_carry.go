// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/channel/gateway"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/cost"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/keys"
	"github.com/blufio/blufio/services/vault"
)

// bringUpToDate makes the database of an archive one that this program goes on with,
// where the one in the data directory stopped.
func (o RestoreOptions) bringUpToDate(ctx context.Context, r *Restored, path string) (err error) {
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path, Readers: 1, Logger: o.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx, schemas()...); err != nil {
		return err
	}
	failpoint.Hit("restore.migrated")
	old, unread, err := o.replaced(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	if old != nil {
		defer func() { err = errors.Join(err, old.Close()) }()
	}
	if err := o.carryOver(ctx, r, old, db, true); err != nil {
		return err
	}
	if unread != nil {
		r.Unread = unread.Error()
	}
	failpoint.Hit("restore.carried")
	return o.lookAtVault(ctx, r, db)
}

// replaced opens the database that is to be replaced, for reading and with this program's
// tables: an older one is copied into scratch first. One that cannot be read is none, and
// unread says why.
func (o RestoreOptions) replaced(ctx context.Context, scratch string) (db *sqlite.Store, unread, err error) {
	path := databasePath(o.DataDir)
	if !fileExists(path) {
		return nil, nil, nil
	}
	if !o.DryRun {
		db, err := sqlite.Open(ctx, sqlite.Options{Path: path, ReadOnly: true, Alone: true, Readers: 1, Logger: o.Logger})
		if errors.Is(err, sqlite.ErrFull) {
			return nil, nil, err
		}
		if err != nil {
			return nil, err, nil
		}
		err = db.Migrate(ctx, schemas()...)
		if err == nil {
			return db, nil, nil
		}
		if err := db.Close(); err != nil {
			return nil, nil, err
		}
		if !errors.Is(err, sqlite.ErrReadOnly) {
			return nil, err, nil
		}
	}
	copied := filepath.Join(scratch, "replaced.db")
	if err := o.copyReplaced(ctx, path, copied); err != nil {
		if errors.Is(err, sqlite.ErrFull) || errors.Is(err, syscall.ENOSPC) || ctx.Err() != nil {
			return nil, nil, err
		}
		return nil, err, nil
	}
	if db, err = sqlite.Open(ctx, sqlite.Options{Path: copied, Readers: 1, Logger: o.Logger}); err != nil {
		return nil, err, nil
	}
	if err := db.Migrate(ctx, schemas()...); err != nil {
		return nil, err, db.Close()
	}
	return db, nil, nil
}

// copyReplaced copies the database that is to be replaced. In a rehearsal without a daemon
// not even SQLite may look at it: it would leave files beside it.
func (o RestoreOptions) copyReplaced(ctx context.Context, from, to string) error {
	running, err := Running(o.DataDir)
	if err != nil || running || !o.DryRun {
		return errors.Join(err, sqlite.CopyFile(ctx, from, to, nil))
	}
	for _, end := range []string{"", "-wal"} {
		if err := copyFile(from+end, to+end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// carryOver has every room tell the restored database what it has to know of the
// replaced one. A damaged one tells what it can. With newEpoch its events begin one.
func (o RestoreOptions) carryOver(ctx context.Context, r *Restored, old, db *sqlite.Store, newEpoch bool) (err error) {
	c := &r.Carried
	c.Replaced = old != nil
	c.Carried, err = agent.CarryOver(ctx, old, db)
	if old != nil {
		for _, room := range []struct {
			count *int
			carry func(ctx context.Context, old, db *sqlite.Store) (int, error)
		}{{&c.Parts, telegram.CarryOver}, {&c.Calls, cost.CarryOver}, {&c.Revoked, keys.CarryOver}, {&c.Revoked, gateway.CarryOver}} {
			n, carryErr := room.carry(ctx, old, db)
			*room.count += n
			err = errors.Join(err, carryErr)
		}
	}
	if errors.Is(err, sqlite.ErrFull) || ctx.Err() != nil {
		return err
	}
	if err != nil { // of the old one: the new one was proved
		r.Unread, c.Replaced = err.Error(), false
	}
	if o.Hold {
		held, err := agent.HoldBack(ctx, db, o.Now().UnixMilli())
		if err != nil {
			return err
		}
		c.Held, c.Open = held.Held, 0
	}
	if !newEpoch {
		return nil
	}
	return eventlog.Restart(ctx, db, old != nil)
}

// lookAtVault tries what is there on the restored vault. Nothing is changed.
func (o RestoreOptions) lookAtVault(ctx context.Context, r *Restored, db *sqlite.Store) error {
	if r.Vault.Secrets == 0 {
		return nil
	}
	v, err := vault.Open(ctx, vault.Deps{Store: db, Sources: vault.SourcesOf(o.Environ, cmp.Or(o.keyDir, o.DataDir)), Look: true, Logger: o.Logger})
	if err != nil {
		return fmt.Errorf("look at the vault: %w", err)
	}
	v.Unlock(ctx)
	r.Vault.Closed = v.List().Unreadable()
	return nil
}

// TakeConfig copies the one configuration file that a restore has left into path, which
// must not be there, and removes what it was left in. At path is all of it or nothing.
func TakeConfig(r Restored, path string) (err error) {
	data, err := os.ReadFile(filepath.Join(r.ConfigDir, r.Config[0]))
	if err != nil {
		return err
	}
	f, err := archive.Create(path, false)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Commit()
	}
	if err != nil {
		return errors.Join(err, f.Abort())
	}
	return os.RemoveAll(r.ConfigDir)
}
