// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"context"
	"errors"
)

var errNotWritten = errors.New("not written yet")

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
	return errNotWritten
}

// CopyFile is [Store.Copy] of a database that no process writes to: what its
// write-ahead log holds is in the copy, and the source is only read.
func CopyFile(ctx context.Context, from, to string, progress func(done, total int64)) error {
	return errNotWritten
}
