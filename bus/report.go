// SPDX-License-Identifier: MIT OR Apache-2.0

package bus

// Parts of a report that only the daemon can give.
const (
	PartConfig     = "config"     // the configuration in force, as `blufio config show --json`
	PartLog        = "log"        // the last lines of the log
	PartGoroutines = "goroutines" // what every goroutine is at
	PartHeap       = "heap"       // a profile of the heap, in pprof's format
)

// MaxReportPart bounds one part, in bytes; the bus carries 1 MiB.
const MaxReportPart = 600 << 10

// ReportQuery asks for one part.
type ReportQuery struct {
	Part string `json:"part"` // config, log, goroutines or heap
}

// ReportPart answers it. Text has no secrets in it; Data, which is of the heap alone,
// holds the addresses and names of code and no content.
type ReportPart struct {
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"`
	Cut  bool   `json:"cut,omitempty"` // there was more
}
