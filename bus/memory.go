// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

import "time"

// Memory pressure levels.
const (
	PressureNormal   = "normal"
	PressureWarn     = "warn"
	PressureCritical = "critical"
)

// MemoryQuery asks the governor for its last reading.
type MemoryQuery struct{}

// Memory is one reading of the process, in bytes. RSS over Limit says nothing of the
// level: RSS is held against memory.limit_mb alone, and against the control group's limit
// what the kernel cannot get back, which pages of files are not.
type Memory struct {
	Heap     int64  `json:"heap_bytes"`             // live and dead objects on the Go heap
	RSS      int64  `json:"rss_bytes"`              // resident set, from /proc/self/statm
	Limit    int64  `json:"limit_bytes"`            // memory.limit_mb or the control group's limit, whichever is lower
	Baseline int64  `json:"baseline_bytes"`         // fixed weight (a loaded model) that thresholds leave out
	Used     int64  `json:"used_percent,omitempty"` // what is taken of the one of the two limits that is nearer, as the thresholds see it, rounded down
	Pressure string `json:"pressure"`               // normal, warn or critical
}

// MemoryFact: the pressure level changed.
type MemoryFact struct {
	Time time.Time `json:"time"`
	From string    `json:"from"`
	Memory
}

// Level is the pressure level, said when it changes and, while it is not normal,
// every few seconds. Who has not heard it for [LevelHolds] takes it for normal.
type Level struct {
	Time     time.Time `json:"time"`
	Pressure string    `json:"pressure"` // normal, warn or critical
}

// LevelHolds is how long a Level counts that is not said again.
const LevelHolds = 15 * time.Second

// Shed asks a room to give up memory. At normal pressure, in a pause after a burst,
// that is what was left over; under pressure also what can be had again at a price.
type Shed struct {
	Pressure string `json:"pressure"` // normal, warn or critical
}

// Freed is how much a room gave up, in bytes; estimated where it cannot be counted.
type Freed struct {
	Bytes int64 `json:"bytes"`
}
