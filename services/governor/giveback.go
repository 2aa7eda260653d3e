// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

const (
	calmBytes  = 4 << 20 // allocated in one reading, below which it counts as calm
	calmSteps  = 5       // calm readings in a row that make a pause
	shrinkTime = 5 * time.Second
)

// giveBack returns memory to the system in the pause after a burst. Left alone,
// an idle Go process keeps a burst's memory for minutes, and the database keeps
// its caches, which lie outside the Go heap.
type giveBack struct {
	sample  []metrics.Sample
	last    uint64 // bytes allocated since the start
	calm    int
	pending bool // there was a burst since memory was given back
}

func newGiveBack() *giveBack {
	return &giveBack{pending: true, sample: []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}} // the start is a burst
}

// due reports that a pause has come.
func (g *giveBack) due() bool {
	metrics.Read(g.sample)
	return g.after(g.sample[0].Value.Uint64())
}

// after is due, for a total of allocated bytes.
func (g *giveBack) after(allocated uint64) bool {
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

// freeMemory empties the database's caches, collects garbage and returns what is
// free, then lets go of the program's own pages: those that are needed come back
// from the file, those that only the start needed do not.
func freeMemory(ctx context.Context, store *sqlite.Store) error {
	ctx, cancel := context.WithTimeout(ctx, shrinkTime)
	defer cancel()
	if err := store.Shrink(ctx); err != nil {
		return err
	}
	debug.FreeOSMemory()
	return dropProgramPages()
}
