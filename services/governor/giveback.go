// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"runtime"
	"runtime/debug"
	"time"
)

const (
	calmBytes = 6 << 20  // allocated in one reading, below which it counts as calm: a single event has NATS read back a block of its stream, 4 MiB
	calmSteps = 5        // calm readings in a row that make a pause
	calmAgain = 28       // and what is kept for some ten seconds after its last use can go by now
	slowBytes = 64 << 20 // allocated since memory was given back, however slowly, after which it is again
	restSteps = 120      // readings since the last burst, after which the collector may be lazy
	busySteps = 600      // of a burst, after which memory is given back without a pause
)

// giveBack knows when the pause after a burst has come, in which memory is returned
// to the system. Left alone, an idle Go process keeps a burst's memory for minutes,
// and the database keeps its caches, which lie outside the Go heap. Where no pause comes,
// memory is given back every ten minutes: fragments would grow with the load. A pause comes twice:
// soon, and when connections, blocks of the event stream and the like have been idle
// for long enough to be let go.
type giveBack struct {
	last  uint64 // bytes allocated since the start
	spare uint64 // of them, until memory was given back last
	calm  int
	rest  int // readings since the last burst
	busy  int // readings since one began, or since memory was given back in it
	owed  int // times that memory is still to be given back since the last burst
}

func newGiveBack() *giveBack { return &giveBack{owed: 2} } // the start is a burst

// due says whether memory is to be given back, for a total of allocated bytes. It stays
// due until it is done.
func (g *giveBack) due(allocated uint64) bool {
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
	return g.owed == 2 && (g.calm >= calmSteps || g.busy >= busySteps) || g.owed == 1 && g.calm >= calmAgain
}

// done says that what was due is under way.
func (g *giveBack) done() {
	g.busy, g.spare = 0, g.last
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
