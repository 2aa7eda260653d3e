// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/internal/sqlite"
	"golang.org/x/sys/unix"
)

// Schema holds the row that is written to see that the database takes writes.
var Schema = sqlite.Schema{Room: "doctor", Steps: []string{`
CREATE TABLE doctor_probe (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	at INTEGER NOT NULL -- Unix milliseconds
);
`}}

// Database is one to look at. A stopped daemon's is open for reading only.
type Database struct {
	*sqlite.Store
	Schemas []sqlite.Schema // that it should have
	Stopped bool            // nobody else has it open
	Log     error           // what is wrong with a stopped one's log
}

// close ends what was opened for one check.
func (d Database) close() {
	if d.Stopped {
		_ = d.Close() // it was only read
	}
}

// errNoDatabase: there is none to look at, and that is no trouble.
type errNoDatabase struct{ why string }

func (e errNoDatabase) Error() string { return e.why }

// StoppedDatabase opens the database of a data directory whose daemon does not run,
// for reading.
func StoppedDatabase(path string, schemas []sqlite.Schema, o sqlite.Options) func(context.Context) (Database, error) {
	return func(ctx context.Context) (Database, error) {
		_, err := os.Stat(path)
		_, logErr := os.Stat(path + "-wal")
		if errors.Is(err, os.ErrNotExist) && logErr != nil {
			return Database{}, errNoDatabase{"there is none yet: the daemon makes it at its first start"}
		}
		cut := checkLog(path + "-wal")
		if cut != nil && !errors.Is(cut, errCut) {
			return Database{}, cut
		}
		if errors.Is(err, os.ErrNotExist) {
			return Database{}, fmt.Errorf("%w: %s is missing, but its write-ahead log is there", sqlite.ErrCorrupt, filepath.Base(path))
		}
		read := o // several checks open it at once
		read.Path, read.ReadOnly, read.Readers = path, true, 1
		store, err := sqlite.Open(ctx, read)
		return Database{Store: store, Schemas: schemas, Stopped: true, Log: cut}, err
	}
}

// errLog: SQLite itself passes over a log that it does not know as one.
type errLog struct{ name string }

func (e errLog) Error() string {
	return e.name + " is damaged: the newest messages were in it"
}

// checkLog looks at the beginning of a write-ahead log and at its length, if there is
// one (https://www.sqlite.org/walformat.html): a header, and then whole frames.
func checkLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil // there is none, or SQLite tells
	}
	defer f.Close() //nolint:errcheck // only read
	var header [32]byte
	if n, err := io.ReadFull(f, header[:]); n < len(header) || err != nil {
		return nil // cut off before anything was in it
	}
	if magic := binary.BigEndian.Uint32(header[:]); magic != 0x377f0682 && magic != 0x377f0683 {
		return errLog{filepath.Base(path)}
	}
	const frameHeader = 24
	frame := int64(binary.BigEndian.Uint32(header[8:])) + frameHeader
	if info, err := f.Stat(); err == nil && (info.Size()-int64(len(header)))%frame != 0 {
		return errCut
	}
	return nil
}

// errCut: the log ends within a frame, and SQLite leaves that out. A process that is
// killed may leave that too, once in a long while, and has lost nothing then that was
// acknowledged.
var errCut = errors.New("its log ends in the middle of a page: what was written last is missing")

const keepAndRestore = "keep the file and restore a backup; without one, move it away to start empty"

// DatabaseProbes look at a database, which open gives them.
func DatabaseProbes(open func(context.Context) (Database, error)) []services.Probe {
	with := func(look func(context.Context, Database) services.Result) func(context.Context) services.Result {
		return func(ctx context.Context) services.Result {
			d, err := open(ctx)
			if err != nil {
				return unlooked(unopened(err))
			}
			defer d.close()
			return look(ctx, d)
		}
	}
	return []services.Probe{{
		ID: "BLF-DB-001", Title: "The database opens and fits this version", Place: services.Either,
		Why: "it holds every message, answer and cent",
		Fix: keepAndRestore,
		Run: func(ctx context.Context) services.Result {
			d, err := open(ctx)
			if err != nil {
				return unopened(err)
			}
			defer d.close()
			return opens(ctx, d)
		},
	}, {
		ID: "BLF-DB-003", Title: "The database is sound in every page", Place: services.Either, Deep: true,
		Why: "a damaged page is found when it is read, which may be long after",
		Fix: keepAndRestore,
		Run: with(sound),
	}, {
		ID: "BLF-DB-004", Title: "The write-ahead log is emptied into the database", Place: services.Either, Deep: true,
		Why: "a log that only grows fills the disk and makes reading slow",
		Fix: "end what reads the database for long; `blufio doctor --fix` empties the log of a stopped daemon",
		Run: with(logged),
	}}
}

// unopened explains why there is no database to look at.
func unopened(err error) services.Result {
	var closed *os.PathError
	var none errNoDatabase
	switch {
	case errors.As(err, &none):
		return services.Skip("%s", none.why)
	case errors.Is(err, sqlite.ErrNotBlufio):
		return services.Fail("%v", err).WithFix("move the file away, or use another --data-dir")
	case errors.As(err, new(errLog)):
		return services.Fail("%v", err).WithFix("keep a copy of both files; restore a backup, or move the log away to go on without what was in it")
	case errors.As(err, &closed) && unix.Access(filepath.Dir(closed.Path), unix.X_OK) != nil:
		return services.Skip("see BLF-FILE-001")
	case errors.Is(err, os.ErrPermission):
		return services.Fail("%v", err).WithFix("run as the owner of the data directory")
	}
	return services.Fail("%v", err)
}

// unlooked is for the other checks: what is wrong is the first one's finding.
func unlooked(r services.Result) services.Result {
	if r.Level == bus.LevelFail {
		return services.Skip("see BLF-DB-001")
	}
	return r
}

// quickCheck is how long the first check looks at pages, where nobody is kept waiting.
const quickCheck = time.Second

func opens(ctx context.Context, d Database) services.Result {
	var newer *sqlite.NewerError
	var tables int
	err := d.QueryRow(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables)
	if err == nil && d.Stopped {
		err = d.Migrate(ctx, d.Schemas...) // only compares
	}
	st := d.Stats()
	size := fmt.Sprintf("%s, and %s of log", bytes(st.DBBytes), bytes(st.WALBytes))
	switch {
	case errors.As(err, &newer):
		return services.Fail("%v", newer).WithFix("%s", newer.Hint())
	case errors.Is(err, sqlite.ErrReadOnly):
		return services.Info("%s; the next start brings its tables up to date", size)
	case err != nil:
		return services.Fail("it cannot be read: %v", err)
	case d.Stopped:
		return quickly(ctx, d, size)
	}
	return services.OK("%s", size)
}

// quickly looks at as many pages as there is time for.
func quickly(ctx context.Context, d Database, size string) services.Result {
	ctx, cancel := context.WithTimeout(ctx, quickCheck)
	defer cancel()
	faults, err := check(ctx, d, "PRAGMA quick_check(3)")
	switch {
	case len(faults) > 0:
		return services.Fail("it is damaged: %s", strings.Join(faults, "; "))
	case ctx.Err() != nil:
		return services.OK("%s; not all pages were looked at, --deep does", size)
	case err != nil:
		return services.Fail("it is damaged: %v", err)
	case d.Log != nil:
		return services.Warn("%s; %v", size, d.Log).WithFix("nothing, if the machine or the process ended in that moment: it was not acknowledged to anybody; else restore a backup")
	}
	return services.OK("%s, no damage seen", size)
}

// check runs a pragma that answers "ok" or with faults.
func check(ctx context.Context, d Database, pragma string) (faults []string, err error) {
	rows, err := d.Query(ctx, pragma)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return faults, err
		}
		if text != "ok" {
			faults = append(faults, text)
		}
	}
	return faults, rows.Err()
}

func sound(ctx context.Context, d Database) services.Result {
	began := time.Now()
	faults, err := check(ctx, d, "PRAGMA integrity_check(3)")
	if len(faults) == 0 && err == nil {
		faults, err = orphans(ctx, d)
	}
	switch {
	case len(faults) > 0:
		return services.Fail("it is damaged: %s", strings.Join(faults, "; "))
	case ctx.Err() != nil:
		return services.Warn("no damage was seen in %s, but not all was looked at", short(time.Since(began))).
			WithFix("give it more time: blufio doctor --only BLF-DB-003 --timeout 1m")
	case err != nil:
		return services.Fail("it is damaged: %v", err)
	}
	return services.OK("all pages and references are sound (%s)", short(time.Since(began)))
}

// orphans are rows that refer to rows which are not there.
func orphans(ctx context.Context, d Database) (faults []string, err error) {
	rows, err := d.Query(ctx, "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 LIMIT 3")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var table, parent string
		var n int64
		if err := rows.Scan(&table, &parent, &n); err != nil {
			return faults, err
		}
		faults = append(faults, fmt.Sprintf("%d rows of %s refer to rows of %s that are not there", n, table, parent))
	}
	return faults, rows.Err()
}

// walTooLarge is several times what the log is cut back to after a burst.
const walTooLarge = 128 << 20

// logged looks how far the log was moved into the file. A stopped daemon's log is
// empty, unless it was killed.
func logged(ctx context.Context, d Database) services.Result {
	size := d.Stats().WALBytes
	if d.Stopped {
		if size > 0 {
			return services.Info("%s of log are left; the next start moves them into the database", bytes(size))
		}
		return services.OK("it is empty")
	}
	var busy, frames, moved int64
	if err := d.QueryRow(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &frames, &moved); err != nil {
		return services.Fail("it cannot be emptied: %v", err)
	}
	seen := fmt.Sprintf("%s; %d of %d pages in it are moved", bytes(size), moved, frames)
	if size > walTooLarge && moved < frames {
		return services.Warn("%s", seen)
	}
	return services.OK("%s", seen)
}

// writes is the check that needs a daemon.
func (s *Service) writes() []services.Probe {
	return []services.Probe{{
		ID: "BLF-DB-002", Title: "The database takes writes",
		Why:      "nothing is accepted that cannot be stored: messages are refused meanwhile",
		Fix:      "see the daemon's log; blufio goes on by itself once it can write",
		Problems: []string{"database"},
		Run:      s.write,
	}}
}

// abandoned is the age of a row whose check was cut off; a younger one may be another's
// who looks at the same moment.
const abandoned = time.Hour

// write writes a row, reads it beside the writer, and deletes it.
func (s *Service) write(ctx context.Context) services.Result {
	began, store := time.Now(), s.d.Store
	var id, read int64
	err := store.Write(ctx, func(tx *sqlite.Tx) error {
		r, err := tx.Exec(`INSERT INTO doctor_probe (at) VALUES (?)`, began)
		if err != nil {
			return err
		}
		id, err = r.LastInsertId()
		return err
	})
	if err == nil {
		err = store.QueryRow(ctx, `SELECT id FROM doctor_probe WHERE id = ?`, id).Scan(&read)
	}
	if err == nil {
		err = store.Write(ctx, func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`DELETE FROM doctor_probe WHERE id = ? OR at < ?`, id, began.Add(-abandoned))
			return err
		})
	}
	switch {
	case errors.Is(err, sqlite.ErrFull) && space(s.d.DataDir).Level == bus.LevelFail:
		return services.Skip("see BLF-FILE-003: the disk is full")
	case errors.Is(err, sqlite.ErrFull):
		return services.Fail("the disk is full").WithFix("free some disk space; blufio goes on by itself")
	case errors.Is(err, sqlite.ErrBusy):
		return services.Fail("%v", err).WithFix("end the other program that holds the database")
	case errors.Is(err, sqlite.ErrCorrupt):
		return services.Fail("%v", err).WithFix("stop the daemon; " + keepAndRestore)
	case err != nil:
		return services.Fail("a row cannot be written, read and deleted: %v", err)
	}
	return services.OK("a row was written, read and deleted in %s", short(time.Since(began)))
}

// bytes is a size for people.
func bytes(n int64) string {
	const mib = 1 << 20
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < mib:
		return fmt.Sprintf("%.1f KiB", float64(n)/1024)
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// HeldDatabase is that of a daemon that runs and does not answer: it is left alone.
func HeldDatabase(context.Context) (Database, error) {
	return Database{}, errNoDatabase{"a daemon that does not answer holds it"}
}
