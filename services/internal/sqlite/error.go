// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Errors to test for with [errors.Is]. What SQLite itself said is wrapped
// beside them.
var (
	// ErrBusy: the write queue is full, or another process kept the database
	// locked for longer than the busy timeout. Trying again later may help.
	ErrBusy = errors.New("database is busy")
	// ErrClosed: the store no longer accepts work.
	ErrClosed = errors.New("database is closed")
	// ErrReadOnly: the store was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("database is open read-only")
	// ErrFull: no space is left for the write. The store recovers by itself
	// once there is space again.
	ErrFull = errors.New("disk is full")
	// ErrCorrupt: the file is not a database, or a damaged one.
	ErrCorrupt = errors.New("database is damaged")
	// ErrNotBlufio: the file is a healthy SQLite database of another program.
	ErrNotBlufio = errors.New("not a blufio database")
)

var (
	errTxOver = errors.New("transaction is over: a Tx is valid only until its function returns")
	errGoexit = errors.New("write function ended its goroutine")
)

// NewerError says that the database was written by a newer program.
type NewerError struct {
	Room    string // whose tables
	Have    int    // version recorded in the database
	Know    int    // highest version this program knows; 0 for an unknown room
	Program string // version of the program that made the tables, "" where that is not known
}

func (e *NewerError) Error() string {
	needs := ""
	if e.Program != "" {
		needs = fmt.Sprintf("it needs blufio %.40s, for ", e.Program)
	}
	return fmt.Sprintf("database is newer than this program: %s%s is at version %d, known is %d", needs, e.Room, e.Have, e.Know)
}

// Hint says what a person can do.
func (e *NewerError) Hint() string {
	needed := "the newer blufio again"
	if e.Program != "" {
		needed = fmt.Sprintf("blufio %.40s or a later one", e.Program)
	}
	return "install " + needed + ", or restore a backup made by this version"
}

// PanicError is what a write function's panic becomes.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // where, as runtime/debug.Stack prints it
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in a write function: %v", e.Value) }

// IsUnique reports whether err is the violation of a UNIQUE or PRIMARY KEY
// constraint: the row is already there.
func IsUnique(err error) bool {
	switch code(err) {
	case lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return false
}

// code is SQLite's extended result code for err, 0 when err is none of its.
func code(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code()
	}
	return 0
}

// classify adds the sentinel that fits SQLite's code. An error that already
// carries one is returned as it is.
func classify(err error) error {
	var kind error
	switch c := code(err); {
	case c&0xff == lib.SQLITE_FULL, c == lib.SQLITE_IOERR_SHMSIZE: // the index of the log could not grow
		kind = ErrFull
	case c&0xff == lib.SQLITE_CORRUPT, c&0xff == lib.SQLITE_NOTADB:
		kind = ErrCorrupt
	case c&0xff == lib.SQLITE_BUSY:
		kind = ErrBusy
	}
	if kind == nil || errors.Is(err, kind) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// mayEndTransaction reports whether SQLite may have rolled back the whole
// transaction, and not only the statement, when it returned err.
func mayEndTransaction(err error) bool {
	switch code(err) & 0xff {
	case lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_BUSY, lib.SQLITE_INTERRUPT, lib.SQLITE_CORRUPT:
		return true
	}
	return false
}
