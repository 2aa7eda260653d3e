// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"slices"
	"time"

	"github.com/blufio/blufio/services"
)

const (
	recentHours = 12 * time.Hour // whose lowest hour is the floor of now
	earlyHours  = 24 * time.Hour // the first that are kept; their middle hour is the floor of then
	apart       = 24 * time.Hour // at least, between now and the last of the early ones
	leastHours  = 6              // on both sides
	growFactor  = 1.5
	growBytes   = 16 << 20
)

// floors are what the process held of its own in the quietest moment of an hour, then
// and now.
type floors struct {
	then, now         int64
	thenHeap, nowHeap int64
	since             time.Time
}

// grown reports growth that is not chance: clear by both measures.
func (f floors) grown() bool {
	return f.now-f.then >= growBytes && float64(f.now) >= growFactor*float64(f.then)
}

// compare finds the floors in a history, the newest first, and what is read at the
// moment. It leans to one side: the lowest hour of half a day stands against the middle
// one of the first day, so a busy day, a burst or a restart is no growth.
func compare(all []hour, current reading, now time.Time) (f floors, ok bool) {
	recent, early := during(all, now.Add(-recentHours), now), []hour(nil)
	if len(all) > 0 {
		first := all[len(all)-1].at
		end := first.Add(earlyHours)
		if limit := now.Add(-apart); end.After(limit) {
			end = limit
		}
		early = during(all, first, end)
		f.since = first
	}
	if len(recent) < leastHours || len(early) < leastHours {
		return f, false
	}
	slices.SortFunc(early, func(a, b hour) int { return int(a.own.least - b.own.least) })
	then := early[len(early)/2]
	f.then, f.thenHeap = then.own.least, then.heap.least
	f.now, f.nowHeap = current.own(), current.Heap
	for _, h := range recent {
		f.now, f.nowHeap = min(f.now, h.own.least), min(f.nowHeap, h.heap.least)
	}
	return f, true
}

// during are the hours that ended between two moments, both included.
func during(all []hour, from, to time.Time) (some []hour) {
	for _, h := range all {
		if !h.at.Before(from) && !h.at.After(to) {
			some = append(some, h)
		}
	}
	return some
}

// probeGrowth compares the daemon with itself, days ago.
func (s *Service) probeGrowth(ctx context.Context) services.Result {
	r, now := s.last(), s.deps.Now()
	if r.err != nil {
		return services.Skip("see BLF-SYS-002")
	}
	all, err := s.history(ctx, r.Baseline)
	if err != nil {
		return services.Skip("what it was is not known: %v", err)
	}
	f, ok := compare(all, r, now)
	if !ok {
		return services.Skip("of this version there are %d hours on record: it takes a day and a quarter to compare", len(all))
	}
	const seen = "in quiet moments %d MiB of its own (Go's objects %d), and %d MiB (%d) on %s"
	said := []any{f.now >> 20, f.nowHeap >> 20, f.then >> 20, f.thenHeap >> 20, f.since.Local().Format(time.DateOnly)}
	if f.grown() {
		return services.Warn(seen, said...)
	}
	return services.OK(seen, said...)
}
