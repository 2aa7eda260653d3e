// SPDX-License-Identifier: MIT OR Apache-2.0

// Package governor is the room that watches the process's own memory.
//
// Once a second it reads the resident set from /proc/self/statm and the Go heap
// from the runtime, holds the resident set against a limit, and knows one of
// three levels: normal, warn and critical. A change of level is logged and said
// as a MemoryPressure event; the last reading is the answer to gov.read, the
// gauges and, when critical, a health problem.
//
// # What is measured
//
// The resident set, not the heap: the database's memory lies outside the Go
// heap, and it is the resident set that the kernel's out-of-memory killer goes
// by. The limit is the configured one or the process's control group's, whichever is
// lower. A control group's limits are those of every group up to the root, in
// version 2 memory.max and memory.high, in version 1 memory.limit_in_bytes. They
// may change while the process runs and are read again once a minute.
//
// # Levels
//
// A level is entered at its percentage of the limit and left 5 points
// below it, so that a reading that trembles around a threshold says it once. A
// jump from normal to critical, and back, is one change.
//
// # Without evidence
//
// What cannot be read is never shown as zero. If the resident set is unreadable,
// gov.read answers an error, its gauge is absent and health says why. If the
// control group's limit is, the configured one holds and health says why too; a
// machine without control groups is nothing unusual and says nothing.
package governor
