// SPDX-License-Identifier: MIT OR Apache-2.0

// Package sqlite is blufio's one store: a SQLite database with one writer,
// shared by all rooms, and a few readers.
//
// # Writing
//
// A commit with synchronous=FULL waits for the disk, and that wait is most of
// what a small write costs. So callers share it. [Store.Write] queues a
// function; the writer runs all functions that queued up while the disk was
// busy with the last commit, each under a savepoint of its own, and commits
// them together. A lone caller waits for nobody. Fifty callers get through
// some thirty writes per fsync.
//
//	err := store.Write(ctx, func(tx *sqlite.Tx) error {
//		if _, err := tx.Exec(`INSERT INTO inbox (id, text) VALUES (?, ?)`, id, text); err != nil {
//			return err
//		}
//		tx.AfterCommit(relay.Wake)
//		return nil
//	})
//	if sqlite.IsUnique(err) { … } // seen before
//
// When Write has returned nil, the write survives a power cut. Writes happen
// in the order in which they were queued. The function holds up everyone
// else, so it does SQL and nothing else: no waiting, no network, no logging,
// no Write. What should happen because of the write goes to [Tx.AfterCommit].
//
// [Store.WriteLazy] is for what nobody waits for, such as an event to be
// relayed: it costs no commit when another write comes along in time.
//
// # Reading
//
// [Store.Query] and [Store.QueryRow] run beside the writer and see what was
// committed. To read what one is about to change, read inside Write. Statements stay
// prepared, in bounded number, so their text should not carry values.
//
// # When the disk is full or fails
//
// Each write of the commit gets the error ([ErrFull], or what SQLite said),
// the transaction is rolled back, and the next one is tried as if nothing had
// happened, on a new connection if need be. [Stats] keeps the last error.
//
// # The file
//
// The database is in WAL mode, mode 0600, and marked with an application_id,
// so that another program's database is refused and left alone
// ([ErrNotBlufio]), as is a damaged one ([ErrCorrupt]). Beside it are -wal,
// the newest commits until a checkpoint moves them over, and -shm, an index
// of it. A file that is copied without its -wal may lack commits; a -wal
// without its file is evidence of a lost database, and Open says so.
//
// Space that deleting frees is used again. What is not, [Store.Vacuum] gives back by and by.
//
// Each room brings its tables as a [Schema]; [Store.Migrate] brings them up to
// date and refuses a database that a newer program has written ([*NewerError]).
//
// # Copies
//
// [Store.Copy] makes a file of the database as it is at one moment, while everybody goes on;
// [CopyFile] does it of a database that nobody has open. [Check] reads such a copy as a whole. It finds damage of
// the structure: a bit that is wrong in the data of a row takes a hash to be seen.
//
// # Memory
//
// SQLite's memory lies outside the Go heap, where no GC and no memory limit of
// the runtime sees it: up to twice Options.CacheKiB for the writer, the same
// for each reader, as far as they are used. [Store.Shrink] gives it back and says how much.
package sqlite
