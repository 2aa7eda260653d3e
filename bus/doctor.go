// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import (
	"encoding/json"
	"time"
)

// DoctorSchema names the shape of DoctorReport; it changes when the shape does.
const DoctorSchema = "blufio.doctor/1"

// DoctorChannel is where doctor's own messages come from and their replies go to. They
// are answered without a model, and are in nobody's conversation or bill.
const DoctorChannel = "doctor"

// Levels of a finding. Info never makes a report worse than ok.
const (
	LevelOK   = "ok"
	LevelInfo = "info"
	LevelWarn = "warn"
	LevelFail = "fail"
	LevelSkip = "skip"
)

// Modes of a report.
const (
	DoctorLive    = "live"    // the daemon made its own checks
	DoctorOffline = "offline" // it does not run or does not answer
)

// DoctorReport is what `blufio doctor --json` prints. The findings are in the order
// of the table of checks.
type DoctorReport struct {
	Schema   string    `json:"schema"`
	Result   string    `json:"result"`         // ok, warn or fail
	Mode     string    `json:"mode"`           // live or offline
	Node     string    `json:"node,omitempty"` // asked through the hub, which makes no check from outside
	Findings []Finding `json:"findings"`
}

// Finding is what came of one check.
type Finding struct {
	ID         string `json:"id"` // stable: "BLF-DB-002"
	Title      string `json:"title"`
	Level      string `json:"level"` // ok, info, warn, fail or skip
	Seen       string `json:"seen"`
	Why        string `json:"why"` // it matters
	Fix        string `json:"fix"` // what to do when it is not well
	Ref        string `json:"ref"` // where more is said of it
	TimeoutMS  int64  `json:"timeout_ms"`
	DurationMS int64  `json:"duration_ms"`
}

// DoctorRequest asks the daemon to make its checks.
type DoctorRequest struct {
	Deep      bool     `json:"deep"`
	Only      []string `json:"only,omitempty"` // ids; empty is all
	Skip      []string `json:"skip,omitempty"`
	TimeoutMS int64    `json:"timeout_ms,omitempty"` // for each check; 0 is its own
}

// Job is long work that was begun; JobGet tells what becomes of it.
type Job struct {
	ID string `json:"id"`
}

// JobQuery asks for what is new of a job. Without news the answer waits for some, at
// most a second.
type JobQuery struct {
	ID    string `json:"id"`
	After int    `json:"after,omitempty"` // how much of its news is known already
}

// JobState answers it. What the news and the result are, the kind says: those of
// "doctor" are findings, and it has no other result.
type JobState struct {
	ID     string            `json:"id"`
	Kind   string            `json:"kind"`
	Began  time.Time         `json:"began"`
	News   []json.RawMessage `json:"news"` // those behind After, oldest first
	Done   bool              `json:"done"` // and all news is told with this answer
	Error  *JobError         `json:"error"`
	Result json.RawMessage   `json:"result"` // null before the end, and where there is none
}

// JobError is why a job failed.
type JobError struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}
