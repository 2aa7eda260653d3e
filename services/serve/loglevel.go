// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

const longestLevel = 7 * 24 * time.Hour // a log that says everything is not to be forgotten

// leveler keeps the level of the log: that of the configuration, or another one for a
// while.
type leveler struct {
	set func(level string) // nil: it cannot be changed
	now func() time.Time

	mu         sync.Mutex
	configured string
	level      string
	until      time.Time // zero: no end by time
}

func newLeveler(o Options) *leveler {
	return &leveler{set: o.SetLogLevel, now: o.Now, configured: o.Config.Log.Level, level: o.Config.Log.Level}
}

// configure takes the level of a configuration that has been read again; it counts at once.
func (l *leveler) configure(level string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.configured = level
	l.take(level, time.Time{})
}

// take changes the level. l.mu is held.
func (l *leveler) take(level string, until time.Time) {
	l.level, l.until = level, until
	if l.set != nil {
		l.set(level)
	}
}

// tick ends what was asked for a while.
func (l *leveler) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.until.IsZero() && !l.now().Before(l.until) {
		l.take(l.configured, time.Time{})
	}
}

// ask is bus.LogSet.
func (l *leveler) ask(s bus.LogSetting) (bus.LogLevel, error) {
	switch longest := int64(longestLevel / time.Second); {
	case s.Level == "" && s.Seconds == 0:
	case l.set == nil:
		return bus.LogLevel{}, bus.Errorf(bus.CodeUnavailable, "the log of this daemon has one level")
	case !slices.Contains(bus.LogLevels(), s.Level):
		return bus.LogLevel{}, bus.Errorf(bus.CodeInvalid, "%.20q is no level of a log", s.Level).WithHint("use one of %s", strings.Join(bus.LogLevels(), ", "))
	case s.Seconds < 0 || s.Seconds > longest:
		return bus.LogLevel{}, bus.Errorf(bus.CodeInvalid, "a level holds for 1 s to 7 days, not for %d s", s.Seconds)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Level != "" {
		until := time.Time{}
		if s.Seconds > 0 {
			until = l.now().Add(time.Duration(s.Seconds) * time.Second)
		}
		l.take(s.Level, until)
	}
	out := bus.LogLevel{Level: l.level, Configured: l.configured}
	if !l.until.IsZero() {
		until := l.until.UTC().Truncate(time.Second)
		out.Until = &until
	}
	return out, nil
}
