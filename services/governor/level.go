// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	hysteresis = 5                // how far below its threshold a level is left, in points of percent
	dwell      = 30 * time.Second // how long a lower level must be due before it is entered
	dwellAgain = 45 * time.Second // the same of a level that is back: well before the minute after which all must be normal
	lately     = 10 * time.Minute // how soon after a fall a level is back
	rise       = 2                // points of percent from one shedding to the next that count as rising
	rises      = 3                // in a row, each above the warning, that count as still rising: half a minute in which shedding did not help
	stallEnter = 10               // percent of the time in which everything in our control group waits for memory: worth a warning
	stallLeave = 5
)

// levels goes from one level to another: up at once, down only after the lower one
// has been due for a while, so that a load that comes and goes is one change. One whose
// pauses are longer than that is taken for several only once: after that more is asked of
// a pause. A pause of a minute is the end of a load, however often it comes back.
type levels struct {
	warn, critical float64 // percent

	level string
	quiet [2]time.Time // since when no reading was due to be more than normal, and than warn; zero: the last one was
	fell  time.Time    // when a lower level was entered last
	again bool         // the level was risen to soon after a fall
	after float64      // percent after the latest shedding; 0: there was none, or it brought the percentage below the warning
	risen int          // sheddings in a row after each of which it was more than after the one before
}

func (c Config) levels() *levels {
	return &levels{warn: float64(c.WarnPercent), critical: float64(c.CriticalPercent), level: bus.PressureNormal}
}

// next takes a reading: the percentage used, and the time that our control group
// stalls.
func (l *levels) next(now time.Time, percent, stalled float64) string {
	due := l.due(percent, stalled)
	for below := range l.quiet {
		switch {
		case rank(due) > below:
			l.quiet[below] = time.Time{}
		case l.quiet[below].IsZero():
			l.quiet[below] = now
		}
	}
	if rank(due) > rank(l.level) {
		l.again = !l.fell.IsZero() && now.Sub(l.fell) < lately
		l.level = due
	}
	for below, since := range l.quiet[:rank(l.level)] {
		if !since.IsZero() && now.Sub(since) >= l.patience() {
			l.level, l.fell = ranked[below], now
			break
		}
	}
	if l.level == bus.PressureNormal {
		l.after, l.risen = 0, 0
	}
	return l.level
}

func (l *levels) patience() time.Duration {
	if l.again {
		return dwellAgain
	}
	return dwell
}

// due is the level that a reading by itself asks for, given the level before.
func (l *levels) due(percent, stalled float64) string {
	critical, warn, still := l.critical, l.warn, float64(stallEnter)
	if l.level == bus.PressureCritical {
		critical -= hysteresis
	}
	if l.level != bus.PressureNormal {
		warn -= hysteresis
		still = stallLeave
	}
	switch {
	case percent >= critical, l.risen >= rises && percent >= warn:
		return bus.PressureCritical
	case percent >= warn, stalled >= still:
		return bus.PressureWarn
	}
	return bus.PressureNormal
}

// shed takes the first reading after a shedding. Those are compared with each other:
// in between, the heap grows and shrinks with every collection. A load that has just
// begun rises too, from one to the next and the one after that; what it takes is no
// reason to refuse anybody before it is near the limit.
func (l *levels) shed(percent float64) {
	switch {
	case percent < l.warn: // it helped
		l.after, l.risen = 0, 0
		return
	case l.after > 0 && percent >= l.after+rise:
		l.risen++
	default:
		l.risen = 0
	}
	l.after = percent
}

// share is used of limit in percent, without the baseline, which weighs on neither
// side: thresholds are percentages of what is left beside it.
func share(used, limit, baseline int64) float64 {
	used, limit = max(0, used-baseline), limit-baseline
	if limit <= 0 {
		return 100
	}
	return float64(used) * 100 / float64(limit)
}

// ranked are the levels in order.
var ranked = [...]string{bus.PressureNormal, bus.PressureWarn, bus.PressureCritical}

// rank numbers the levels: 0, 1, 2.
func rank(level string) int { return max(0, slices.Index(ranked[:], level)) }
