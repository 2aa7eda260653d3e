// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import "runtime/metrics"

// Go is what the Go runtime says of its memory, in bytes.
type Go struct {
	Objects   int64  // on the heap, live and not yet swept
	Live      int64  // of those, found live by the last collection
	Resident  int64  // taken from the system and not given back: what the memory limit is about
	Overhead  int64  // of Resident, what is neither objects nor free: stacks, fragments, the runtime's own
	Allocated uint64 // objects since the start, in all
}

var samples = [...]string{
	"/memory/classes/heap/objects:bytes", "/gc/heap/live:bytes", "/memory/classes/total:bytes",
	"/memory/classes/heap/released:bytes", "/memory/classes/heap/free:bytes", "/gc/heap/allocs:bytes",
}

// goReader returns a function that asks the runtime, without allocating. It is for
// one goroutine.
func goReader() func() Go {
	sample := make([]metrics.Sample, len(samples))
	for i, name := range samples {
		sample[i].Name = name
	}
	return func() Go {
		metrics.Read(sample)
		at := func(i int) int64 { return int64(sample[i].Value.Uint64()) }
		g := Go{Objects: at(0), Live: at(1), Resident: at(2) - at(3), Allocated: sample[5].Value.Uint64()}
		g.Overhead = max(0, g.Resident-g.Objects-at(4))
		return g
	}
}

const (
	usualPercent = 100
	growPercent  = 50 // costs a tenth of the processor's time under full load, and leaves 4 MB less after it

	leastGo     = 16 << 20 // no lower memory limit for Go than this
	leastGrowth = 8 << 20  // between two collections
	limitStep   = 2 << 20  // smaller changes are not worth stopping the world for
)

// growLess lets the heap grow by less, unless the owner has set GOGC.
func (s *Service) growLess() {
	if before := s.deps.GoPercent(growPercent); before != usualPercent {
		s.deps.GoPercent(before)
		return
	}
	s.grows = growPercent
}

// pace has the collector be lazy at rest, where there is little to collect: an idle daemon
// needs half of the collections then.
func (s *Service) pace(resting bool) {
	want := growPercent
	if resting {
		want = usualPercent
	}
	if s.grows != 0 && s.grows != want {
		s.deps.GoPercent(want)
		s.grows = want
	}
}

// growAsUsual undoes what the two have set.
func (s *Service) growAsUsual() {
	if s.grows != 0 {
		s.deps.GoPercent(usualPercent)
		s.grows = 0
	}
}

// goLimit is the memory limit for the Go runtime where room is left for it. It never
// goes so low that one collection follows another: what is live may grow by a
// quarter before the next, whatever the room. Beyond that it is not for the
// collector to help.
func goLimit(room int64, g Go) int64 {
	return max(room, g.Live+g.Overhead+max(g.Live/4, leastGrowth), leastGo)
}
