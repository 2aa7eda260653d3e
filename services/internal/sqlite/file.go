// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

const (
	// applicationID marks a database as blufio's, at offset 68 of the file
	// (https://www.sqlite.org/fileformat.html#application_id): "bluf".
	applicationID = 0x626c7566
	headerMagic   = "SQLite format 3\x00"
	headerSize    = 100

	busyTimeoutMS    = 5000     // for another process's lock; inside this one nobody waits for a lock
	journalSizeLimit = 16 << 20 // what the write-ahead log may keep after a burst
)

// dsn builds a connection string; SQLite's mode ro and rw never create.
func dsn(path, mode string, pragmas ...string) string {
	q := url.Values{
		"mode": {mode},
		// A quoted name that matches no column is a mistake, not a string.
		"_dqs":                 {"0"},
		"_defensive":           {"1"},
		"_time_integer_format": {"unix_milli"},
	}
	q["_pragma"] = append([]string{
		"busy_timeout(" + strconv.Itoa(busyTimeoutMS) + ")",
		"foreign_keys(1)",
		"trusted_schema(0)",
		"cell_size_check(1)",
	}, pragmas...)
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func writerDSN(o Options) string {
	return dsn(o.Path, "rw",
		"journal_mode(WAL)", // lost when a file comes back from VACUUM INTO
		"synchronous(FULL)",
		"journal_size_limit("+strconv.Itoa(journalSizeLimit)+")",
		cacheSize(o))
}

func readerDSN(o Options) string { return dsn(o.Path, "rw", cacheSize(o), "query_only(1)") }

// cacheSize names the schema because the driver runs pragmas in the order of
// the alphabet and this one reads the file: locking_mode must come before.
func cacheSize(o Options) string { return "main.cache_size(-" + strconv.Itoa(o.CacheKiB) + ")" }

// openDB makes a pool of at most n connections, which are kept once open.
func openDB(dsn string, n int) (*sql.DB, error) {
	c, err := driver.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// prepareFile leaves at path a database of blufio that only its owner can
// read, or says why there is none.
func prepareFile(ctx context.Context, path string) error {
	err := checkHeader(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createFile(ctx, path)
	}
	if err != nil {
		return err
	}
	// SQLite gives its side files the mode of the database.
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Chmod(p, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkHeader looks at the file without SQLite, which might already change
// it, for instance by playing back a journal found beside it.
func checkHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var header [headerSize]byte
	switch _, err := io.ReadFull(f, header[:]); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the file is cut off", ErrCorrupt)
	case err != nil:
		return err
	}
	if string(header[:len(headerMagic)]) != headerMagic {
		return fmt.Errorf("%w: the file does not begin like a SQLite database", ErrCorrupt)
	}
	if id := binary.BigEndian.Uint32(header[68:]); id != applicationID {
		return fmt.Errorf("%w: application_id is %#08x, want %#08x", ErrNotBlufio, id, applicationID)
	}
	return nil
}

// createFile makes a new database beside path and renames it there, so that a
// database exists whole or not at all.
func createFile(ctx context.Context, path string) error {
	if fileSize(path+"-wal") > 0 {
		// SQLite would play the log of the lost database into the new one.
		return fmt.Errorf("%w: the file is missing, but its write-ahead log %s-wal is not: restore the database or remove the log", ErrCorrupt, path)
	}
	fresh := path + ".new"
	for _, p := range []string{fresh, fresh + "-journal", fresh + "-wal", fresh + "-shm"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := initialize(ctx, fresh); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// initialize writes what must be in a database from its first page on.
func initialize(ctx context.Context, path string) error {
	db, err := openDB(dsn(path, "rw", "auto_vacuum(INCREMENTAL)"), 1)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`
		PRAGMA application_id = %d;
		CREATE TABLE blufio_schema (
			room    TEXT    NOT NULL PRIMARY KEY,
			version INTEGER NOT NULL
		) STRICT, WITHOUT ROWID;
		PRAGMA journal_mode = WAL;`, applicationID))
	return errors.Join(err, db.Close())
}

// SyncDir makes what happened to names in dir survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openReadOnly opens the readers alone. A database in WAL mode is not simply
// readable: SQLite wants its index file (-shm), and a user who may only read
// cannot make one. What then is right depends on what was left behind.
func (s *Store) openReadOnly(ctx context.Context, o Options) error {
	if err := checkHeader(o.Path); err != nil {
		return err
	}
	plain := dsn(o.Path, "ro", cacheSize(o), "query_only(1)")
	if !o.Alone {
		err := s.tryReaders(ctx, plain, o.Readers)
		if code(err)&0xff != lib.SQLITE_CANTOPEN && code(err)&0xff != lib.SQLITE_READONLY {
			return err
		}
	}
	if fileSize(o.Path+"-wal") == 0 {
		// Closed in good order: all is in the file, and nobody changes it.
		return s.tryReaders(ctx, plain+"&immutable=1", o.Readers)
	}
	// A log without an index: nobody has the database open, so it can be read
	// without locks and with an index in memory, which is what SQLite does in
	// exclusive mode.
	alone := dsn(o.Path, "ro", "locking_mode(EXCLUSIVE)", cacheSize(o), "query_only(1)")
	return s.tryReaders(ctx, alone+"&vfs=unix-none", o.Readers)
}

// tryReaders opens the readers and reads once, which is where it would fail.
func (s *Store) tryReaders(ctx context.Context, dsn string, n int) error {
	db, err := openDB(dsn, n)
	if err != nil {
		return err
	}
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return errors.Join(err, db.Close())
	}
	s.readers = db
	return nil
}
