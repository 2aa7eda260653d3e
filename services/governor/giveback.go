// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"runtime"
	"runtime/debug"
	"time"
)

const (
	calmBytes = 4 << 20 // allocated in one reading, below which it counts as calm
	calmSteps = 5       // calm readings in a row that make a pause
	calmAgain = 28      // and the end of one: what is kept for some ten seconds after its last use can go by now
)

// giveBack knows when the pause after a burst has come, in which memory is returned
// to the system. Left alone, an idle Go process keeps a burst's memory for minutes,
// and the database keeps its caches, which lie outside the Go heap. It comes twice:
// soon, and when connections, blocks of the event stream and the like have been idle
// for long enough to be let go.
type giveBack struct {
	last uint64 // bytes allocated since the start
	calm int
	owed int // times that memory is still to be given back since the last burst
}

func newGiveBack() *giveBack { return &giveBack{owed: 2} } // the start is a burst

// due reports that a pause has come, for a total of allocated bytes.
func (g *giveBack) due(allocated uint64) bool {
	if allocated-g.last >= calmBytes {
		g.calm, g.owed = 0, 2
	} else {
		g.calm++
	}
	g.last = allocated
	if g.calm < calmSteps || g.owed == 0 || g.owed == 1 && g.calm < calmAgain {
		return false
	}
	g.owed--
	return true
}

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
