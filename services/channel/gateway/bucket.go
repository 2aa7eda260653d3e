// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"sync"
	"time"
)

// bucket lets a number of requests a minute through, a minute's worth of them at
// once if there were none before. It remembers when it will be empty again if nothing
// more comes: every request puts that off by its share of a minute.
type bucket struct {
	mu    sync.Mutex
	empty time.Time
}

// take lets one request through at now, or says how long to wait for that. A rate of
// 0 is no limit.
func (b *bucket) take(now time.Time, rate int64) (wait time.Duration, ok bool) {
	if rate <= 0 {
		return 0, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	share := time.Minute / time.Duration(rate)
	full := now.Add(time.Minute)
	empty := b.empty
	if empty.Before(now) || empty.After(full) { // long ago, or the clock was set back
		empty = now
	}
	empty = empty.Add(share)
	if empty.After(full) {
		return empty.Sub(full), false
	}
	b.empty = empty
	return 0, true
}
