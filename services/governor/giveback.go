// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

const (
	calmBytes = 4 << 20 // allocated in one reading, below which it counts as calm
	calmSteps = 5       // calm readings in a row that make a pause
)

// giveBack knows when the pause after a burst has come, in which memory is returned
// to the system. Left alone, an idle Go process keeps a burst's memory for minutes,
// and the database keeps its caches, which lie outside the Go heap.
type giveBack struct {
	last    uint64 // bytes allocated since the start
	calm    int
	pending bool // there was a burst since memory was given back
}

func newGiveBack() *giveBack { return &giveBack{pending: true} } // the start is a burst

// due reports that a pause has come, for a total of allocated bytes.
func (g *giveBack) due(allocated uint64) bool {
	if allocated-g.last >= calmBytes {
		g.calm, g.pending = 0, true
	} else {
		g.calm++
	}
	g.last = allocated
	if !g.pending || g.calm < calmSteps {
		return false
	}
	g.pending = false
	return true
}
