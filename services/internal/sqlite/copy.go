// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	driver "modernc.org/sqlite"
)

const (
	copyCacheKiB  = 256 // of each side: every page is met once
	copyStepPages = 256 // between two looks at the context, and at who else wants the processor
)

// Copy writes the database, as it is at one moment, to a new file at path: mode
// 0600, synced, with nothing beside it. Writers go on meanwhile and are not
// waited for. It fails with [fs.ErrExist] when path exists, and leaves nothing
// there when it fails. Progress, unless nil, is told the bytes copied and
// of how many, on the caller's goroutine.
//
// The copy is taken through SQLite's backup interface in one read transaction, on
// a connection of its own with a small cache. Until it ends the write-ahead log
// only grows.
func (s *Store) Copy(ctx context.Context, path string, progress func(done, total int64)) error {
	if s.writer == nil {
		return CopyFile(ctx, s.meter.path, path, progress)
	}
	o := Options{Path: s.meter.path, CacheKiB: copyCacheKiB}
	return copyTo(path, func() error { return copyOnce(ctx, readerDSN(o), path, progress) })
}

// CopyFile is [Store.Copy] of a database that no process writes to: what its
// write-ahead log holds is in the copy, and the source is only read.
func CopyFile(ctx context.Context, from, to string, progress func(done, total int64)) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	return copyTo(to, func() error {
		s := &Store{meter: newMeter(from)}
		if err := s.openReadOnly(ctx, Options{Path: from, CacheKiB: copyCacheKiB, Readers: 1}); err != nil {
			return err
		}
		return errors.Join(copyPages(ctx, s.readers, to, progress), s.readers.Close())
	})
}

// copyTo makes an empty file at path for fill to write to, and syncs or removes it.
func copyTo(path string, fill func() error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("copy database to %s: %w", path, classify(err))
		}
	}()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, removeCopy(path))
		}
	}()
	err = fill()
	trim() // what the caches took: a backup goes on to other work
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

func removeCopy(path string) (err error) {
	for _, p := range []string{path, path + "-journal", path + "-wal", path + "-shm"} {
		if e := os.Remove(p); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func copyOnce(ctx context.Context, dsn, to string, progress func(done, total int64)) error {
	db, err := openDB(dsn, 1)
	if err != nil {
		return err
	}
	return errors.Join(copyPages(ctx, db, to, progress), db.Close())
}

// copyPages copies within one read transaction: steps without one would begin
// anew with each write in between.
func copyPages(ctx context.Context, db *sql.DB, to string, progress func(done, total int64)) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	var pageSize int64
	err = conn.QueryRowContext(ctx, "PRAGMA page_size").Scan(&pageSize)
	if err == nil {
		var tables int // the transaction begins with its first read
		err = conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables)
	}
	if err == nil {
		err = conn.Raw(func(c any) error { return stepThrough(ctx, c, to, pageSize, progress) })
	}
	_, endErr := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	return errors.Join(err, endErr)
}

func stepThrough(ctx context.Context, c any, to string, pageSize int64, progress func(done, total int64)) (err error) {
	source, ok := c.(interface {
		NewBackup(uri string) (*driver.Backup, error)
	})
	if !ok {
		return errors.New("the SQLite driver has no backup interface")
	}
	b, err := source.NewBackup(copyDSN(to))
	if err != nil {
		return err
	}
	defer func() {
		if e := b.Finish(); err == nil { // after an error it says the same again
			err = e
		}
	}()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		runtime.Gosched()
		if more, err = b.Step(copyStepPages); err != nil {
			return err
		}
		if progress != nil {
			total := int64(b.PageCount()) * pageSize
			progress(total-int64(b.Remaining())*pageSize, total)
		}
	}
	return nil
}

// copyDSN opens the copy without what protects a database against a crash: one
// that is cut off is removed, and one that is whole is synced by us.
func copyDSN(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return dsn(path, "rw", "journal_mode(MEMORY)", "synchronous(OFF)", cacheSize(Options{CacheKiB: copyCacheKiB}))
}
