// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import "context"

// Checked is what [Check] found.
type Checked struct {
	Damage []string         // lines of integrity_check and foreign_key_check, at most 100; none: it is sound
	Schema map[string]int   // version of each room's tables
	Rows   map[string]int64 // of each table; SQLite's own and virtual ones are left out
	Bytes  int64            // size of the database
}

// Err is nil for a sound database and wraps [ErrCorrupt] for a damaged one.
func (c Checked) Err() error { return errNotWritten }

// Check reads the whole database at path and changes nothing, nor leaves a file
// beside it: nobody may have it open. What it finds is in Damage; an error means
// that it could not look, or that the file is no database of blufio at all.
func Check(ctx context.Context, path string) (Checked, error) { return Checked{}, errNotWritten }
