// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/clip"
)

// Place says where a probe can be run.
type Place int

const (
	Inside  Place = iota // in the daemon only
	Either               // in the daemon, and without one by the command line
	Outside              // by the command line only, whether a daemon runs or not
)

// Probe is one check of doctor's. The texts are for the person who runs it.
type Probe struct {
	ID       string // stable: "BLF-", one of [Areas], a number
	Title    string // what is true when all is well
	Why      string // why that matters
	Fix      string // what to do otherwise; a result may say it more exactly
	Place    Place
	Deep     bool          // made with --deep only
	Timeout  time.Duration // default [QuickProbe], or [DeepProbe]
	Problems []string      // codes of the room's health that this probe speaks of
	Run      func(ctx context.Context) Result
}

// How long a probe may take that does not say it.
const (
	QuickProbe = 1500 * time.Millisecond
	DeepProbe  = 10 * time.Second
)

// Area is a part of the table.
type Area struct{ Name, Title string }

// Areas are all, in the order of the table.
func Areas() []Area {
	return []Area{
		{"CFG", "Configuration"}, {"RUN", "The daemon"}, {"FILE", "Files"}, {"DB", "Database"}, {"VLT", "Vault"}, {"BUS", "Bus"}, {"KEY", "Keys of the bus"}, {"HUB", "Hub"}, {"ROOM", "Rooms"},
		{"QUEUE", "Queues"}, {"COST", "Cost"}, {"LLM", "Models"}, {"RCL", "Recall"}, {"TG", "Telegram"}, {"GW", "Gateway"}, {"BAK", "Backups"}, {"SYS", "The machine"},
	}
}

// CompareIDs orders ids as the table does; those of no known area come last.
func CompareIDs(a, b string) int {
	if d := rank(a) - rank(b); d != 0 {
		return d
	}
	return strings.Compare(a, b)
}

func rank(id string) int {
	name, _, _ := strings.Cut(strings.TrimPrefix(id, "BLF-"), "-")
	areas := Areas()
	if i := slices.IndexFunc(areas, func(a Area) bool { return a.Name == name }); i >= 0 {
		return i
	}
	return len(areas)
}

// Anchor is where DOCTOR.md speaks of an id.
func Anchor(id string) string { return "DOCTOR.md#" + strings.ToLower(id) }

// timeout is how long the probe may take.
func (p Probe) timeout() time.Duration {
	switch {
	case p.Timeout > 0:
		return p.Timeout
	case p.Deep:
		return DeepProbe
	}
	return QuickProbe
}

// Found is the finding that a result of this probe makes.
func (p Probe) Found(r Result) bus.Finding {
	f := bus.Finding{ID: p.ID, Title: p.Title, Level: r.Level, Seen: clip.Marked(r.Seen, maxSeen), Why: p.Why, Fix: p.Fix, Ref: Anchor(p.ID), TimeoutMS: p.timeout().Milliseconds()}
	if r.Fix != "" {
		f.Fix = r.Fix
	}
	return f
}

// maxSeen bounds what a finding says, in bytes: it goes over the bus and to a terminal.
const maxSeen = 2000

// Result is what a probe saw.
type Result struct {
	Level string
	Seen  string
	Fix   string // "" is the probe's own
}

// OK says that all is well.
func OK(format string, args ...any) Result { return result(bus.LevelOK, format, args) }

// Info says what is worth knowing and no trouble.
func Info(format string, args ...any) Result { return result(bus.LevelInfo, format, args) }

// Warn says what will be trouble, or may be.
func Warn(format string, args ...any) Result { return result(bus.LevelWarn, format, args) }

// Fail says what does not work.
func Fail(format string, args ...any) Result { return result(bus.LevelFail, format, args) }

// Skip says why there was nothing to look at.
func Skip(format string, args ...any) Result { return result(bus.LevelSkip, format, args) }

func result(level, format string, args []any) Result {
	return Result{Level: level, Seen: fmt.Sprintf(format, args...)}
}

// WithFix says what to do about it.
func (r Result) WithFix(format string, args ...any) Result {
	r.Fix = fmt.Sprintf(format, args...)
	return r
}
