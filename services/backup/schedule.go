// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import "time"

// When things are due that the daemon does by itself.
const (
	settling   = 10 * time.Minute // after the start, before the first backup
	retryFirst = 5 * time.Minute  // after a failure; doubles
	retryMost  = 4 * time.Hour
	deferral   = time.Minute // while memory is critical, or another backup is made
)

// course is what the schedule goes by.
type course struct {
	started  time.Time // the daemon
	done     time.Time // the last success, zero without one
	failed   time.Time // the last failure
	failures int       // in a row, since the last success
	deferred time.Time // when it was put off last
}

// due is when the next one is to be made; ok is false without a schedule. What lies in the
// future did not happen: the clock was set back, and nobody knows by how much.
func (c course) due(now time.Time, every time.Duration) (at time.Time, ok bool) {
	if every <= 0 {
		return time.Time{}, false
	}
	past := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	at = c.started.Add(settling)
	if past(c.done) {
		at = later(at, c.done.Add(every))
	}
	if c.failures > 0 && past(c.failed) {
		at = later(c.started.Add(retryFirst), c.failed.Add(backoff(c.failures, every)))
	}
	if past(c.deferred) {
		at = later(at, c.deferred.Add(deferral))
	}
	return at, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// backoff is the pause after n failures in a row.
func backoff(n int, every time.Duration) time.Duration {
	pause := retryFirst
	for ; n > 1 && pause < retryMost; n-- {
		pause *= 2
	}
	return min(pause, retryMost, every)
}
