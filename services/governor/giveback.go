// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"runtime"
	"runtime/debug"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	calmBytes = 6 << 20  // allocated in one reading, below which it counts as calm: a single event has NATS read back a block of its stream, 4 MiB
	calmSteps = 5        // calm readings in a row that make a pause
	calmAgain = 28       // and what is kept for some ten seconds after its last use can go by now
	tidyFirst = 4        // in a long pause: the program's pages, if there are more again
	tidyMost  = 64       // once the last burst is long ago, each time after twice as many readings as before, up to this
	tidyBytes = 3 << 20  // how many more
	slowBytes = 64 << 20 // allocated since memory was given back, however slowly, after which it is again
	restSteps = 120      // readings since the last burst, after which the collector may be lazy, and the program's pages go more seldom
	busySteps = 600      // of a burst, after which memory is given back without a pause
)

// What a reading calls for in a pause.
const (
	nothing  = ""
	allSpare = bus.PressureNormal // memory is given back
	program  = "program"          // only the program's own pages go
)

// giveBack knows when the pause after a burst has come, in which memory is returned
// to the system. Left alone, an idle Go process keeps a burst's memory for minutes,
// and the database keeps its caches, which lie outside the Go heap. Where no pause comes,
// memory is given back every ten minutes: fragments would grow with the load. A pause comes twice:
// soon, and when connections, blocks of the event stream and the like have been idle
// for long enough to be let go. From then on only the program's pages go, when there
// are more of them than what runs every second needs: code that runs once in a quarter of
// a minute, such as an answer to Prometheus, holds 64 KiB for each place that it touches,
// 6 MB of them. Each time costs some 4 ms, for what is needed comes back page by page; so
// two minutes after a burst it begins to go more and more seldom.
type giveBack struct {
	last  uint64 // bytes allocated since the start
	spare uint64 // of them, until memory was given back last
	calm  int
	rest  int   // readings since the last burst
	busy  int   // readings since one began, or since memory was given back in it
	owed  int   // times that memory is still to be given back since the last burst
	tidy  int   // readings until the program's pages may go again
	least int64 // bytes of files that were resident at least, since the program's went last; 0: they have just gone
}

func newGiveBack() *giveBack { return &giveBack{owed: 2, tidy: tidyFirst} } // the start is a burst

// due says what has come due, for a total of allocated bytes and those of files, the
// program's among them, that are resident; 0: that is not known. It stays due until it is
// done.
func (g *giveBack) due(allocated uint64, filed int64) string {
	g.calm++
	g.rest++
	g.busy++
	if allocated-g.last >= calmBytes {
		g.burst()
	}
	g.last = allocated
	if g.owed == 0 && allocated-g.spare >= slowBytes {
		g.calm, g.owed = 0, 1
	}
	if g.least == 0 || filed < g.least {
		g.least = filed
	}
	switch {
	case g.owed == 2 && (g.calm >= calmSteps || g.busy >= busySteps), g.owed == 1 && g.calm >= calmAgain:
		return allSpare
	case g.owed == 0 && g.calm >= calmAgain+g.tidy && filed >= g.least+tidyBytes:
		return program
	}
	return nothing
}

// done says that what was due is under way.
func (g *giveBack) done(what string) {
	g.least = 0
	if what == program {
		g.calm = calmAgain
		if g.resting() {
			g.tidy = min(2*g.tidy, tidyMost)
		}
		return
	}
	g.tidy, g.busy, g.spare = tidyFirst, 0, g.last
	if g.calm >= calmSteps { // else the pause is still to come
		g.owed--
	}
}

// burst says that there is one.
func (g *giveBack) burst() {
	if g.owed < 2 { // it has just begun
		g.busy = 0
	}
	g.calm, g.rest, g.owed = 0, 0, 2
}

// short says that memory is, so that it is given back without this. When it is not any
// more, that is the end of a burst.
func (g *giveBack) short() {
	g.burst()
	g.busy = 0
}

// resting says that the last burst was long ago.
func (g *giveBack) resting() bool { return g.rest >= restSteps }

// settleTime is what runs at the end of a collection has until the next one.
const settleTime = 10 * time.Millisecond

// giveBackMemory returns what is free to the system. One collection is not enough to
// free it: what is held weakly goes with the first, and where its buffer then goes is
// a pool, as buffers of all kinds are; those survive two.
func giveBackMemory() {
	for range 2 {
		runtime.GC()
		time.Sleep(settleTime)
	}
	debug.FreeOSMemory() // collects once more
}
