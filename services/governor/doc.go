// SPDX-License-Identifier: MIT OR Apache-2.0

// Package governor is the room that keeps the process within its memory: it
// measures, sheds, has new sessions refused, and gives back. It never ends the
// process.
//
//	sensor.go, parse.go  the kernel's files, read every second without allocating
//	group.go             which control group counts, and its limit
//	heap.go              what Go says of its memory, and how much it may have
//	level.go             normal, warn, critical, and the way between them
//	step.go              one reading: judge it, set Go's limit, tell the level, ask for relief
//	say.go               who learns of it: the log, the event, gov.read, health
//	metrics.go           and whoever scrapes
//	shed.go              the rooms are asked, memory goes back to the system
//	giveback.go          the pause after a burst, in which that is done unasked
//	program.go           the pages of the program file
//	collect.go, history.go  an hour's readings become one row; thirty days are kept
//	growth.go            doctor's look back: does the quiet process grow?
//	probes.go            its other checks
//	acts_off.go          the build for the soak whose governor only watches
//
// # What is measured
//
// Two things may run out. One is what the owner allows the process (limit_mb): held
// against it is the resident set, for the database's memory lies outside the Go
// heap. The other is what the kernel allows the control group: held against it is
// what the kernel cannot get back, as memory.stat has it: anonymous memory, files that lie
// in memory alone (tmpfs), its sockets' buffers, and its own memory, in version 2 but for
// caches of names and inodes. Pages of other files are not counted there, for a backup
// fills the group with them.
// The nearer of the two decides, and its share is what is told (used_percent). The lower
// of the two limits is told as the limit; the resident set over that would be neither share.
//
// A control group's limits are those of every group up to the root, in version 2
// memory.max and memory.high, in version 1 memory.limit_in_bytes. They may change
// while the process runs and are read again once a minute.
//
// A fixed weight, as of a loaded model, is left out on both sides. Most of a model is
// pages of its file: they are part of the resident set, but not of what the kernel
// cannot get back. There only the rest of the weight is left out.
//
// # Levels
//
// A level is entered at once, at its percentage, and left when readings were 5
// points below it for half a minute, or for 45 s if it was entered within ten minutes of
// a fall. So a load that comes and goes is one change while its pauses are shorter than
// that. A pause of more than 45 s is the end of a load, for after a minute all is normal.
// Critical is also what goes on rising above the warning, each time more after a
// shedding than after the one before, for half a minute. A control group in which
// everything waits for memory is worth a warning, whatever the numbers.
//
//	warn      gov.shed to every room, SQLite's caches emptied, a collection, and what
//	          is free returned to the system; again every ten seconds while it lasts
//	critical  the same, and the agent begins no new session (gov.level tells it);
//	          those that there are go on
//
// # Go's memory
//
// The heap may grow by half between two collections, not to its double, unless the
// owner has set GOGC: what a burst's garbage lay between stays behind in fragments. Two
// minutes after the last burst it may again grow as usual, for half of the collections.
//
// Its memory limit follows what others leave of the bounds, up to where a warning is
// left: the collector works harder before anybody is refused. It never goes so low
// that one collection follows another.
//
// # Growth
//
// What leaks a little is seen over days only. So the least, middle and most of every
// full hour are stored, the first one after a start left out, and doctor compares floors:
// the lowest hour of the last twelve with the middle one of the first day on record,
// which lies a day back at least and thirty at most. Growth is half as much again and
// 16 MiB. Another version of the program, or another fixed weight, begins anew.
//
// # Without evidence
//
// What cannot be read is never shown as zero. If the resident set is unreadable,
// gov.read answers an error, its gauge is absent and health says why; the level stays
// for a quarter of a minute, then it is normal, and nobody is refused any more. If the
// control group's limit is, the configured one holds and health says why too; a
// machine without control groups is nothing unusual and says nothing.
package governor
