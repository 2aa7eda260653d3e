// SPDX-License-Identifier: MIT OR Apache-2.0

// Package backup is the room that makes backups which are known to restore.
//
// A backup is a cut through everything at one moment ([Source.Take]): the database is copied
// beside its writers, the copy is hashed, and an archive is made of it while it is checked: that
// of a damaged copy never gets its seal. What an archive looks like is said in the package archive,
// which knows no bus; what the cut is made of is the same with a daemon and without.
//
//	cut.go       the cut: copy, hash, check, and its archive
//	stream.go    ctl.backup.create, read and finish: whoever asks writes the file
//	scheduled.go the daemon's own, written to a directory, verified, thinned out
//	after.go     what follows: the command that sends one away, and the drill
//	schedule.go  when they are due; keep.go, which of them stay
//	store.go     the last of each, in the database
//
// # Who writes
//
// The daemon may have a /tmp of its own and no right to where the archive is to lie. So it
// hands the archive out in pieces of 128 KiB, as they are asked for, and the command line
// writes them. Nothing is held but a piece or two. The piece that was asked for last may be
// asked for again; who does not ask for a minute is taken for gone, and
// who has all of it and does not say for five that it is on its disk.
//
// Scheduled ones the daemon writes itself, under a name that ends in .partial until every
// byte was read again and found good.
//
// # One at a time
//
// A backup costs a pass over the database and its size on the disk, in DATA/backup.tmp. A
// second one is told to come back; so is one that is asked for while memory is critical.
// What follows a backup is made apart, so that a slow upload keeps nobody waiting.
//
// # Whose they are
//
// Old backups are deleted by the name of the daemon in theirs. That name may change: a
// container that is made anew without one has another each time. So in the directory of its
// own, which lies in the data directory, the daemon also deletes what bears another name and
// says the device's key. One that the owner has named may be that of several daemons: there
// the name alone counts.
//
// # Failure is loud
//
// One that fails is an event, a problem in the status, a metric and a finding of doctor's,
// until one succeeds. It is tried again after five minutes, then more and more rarely. A
// stop in the middle is no failure: it is made after the next start.
package backup
