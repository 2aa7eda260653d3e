// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"os"
	"testing"

	"github.com/blufio/blufio/bus"
)

// pauses reads as often as is said and returns how often memory was given back. Each
// reading allocates bytes.
func pauses(g *giveBack, times int, bytes uint64) (given int) {
	for range times {
		if g.due(g.last + bytes) {
			g.done()
			given++
		}
	}
	return given
}

const mib = 1 << 20

func TestMemoryIsGivenBackTwicePerPause(t *testing.T) {
	g := newGiveBack()
	for _, step := range []struct {
		what  string
		bytes uint64
		times int
		want  int
	}{
		{"the start, not calm for long enough", 1, calmSteps - 1, 0},
		{"the pause after the start", 1, 1, 1},
		{"what is kept for a while", 1, calmAgain - calmSteps - 1, 0},
		{"goes at its end", 1, 1, 1},
		{"a long pause", 1, 1000, 0},
		{"a burst", 100 * mib, 50, 0},
		{"too short a pause", mib, calmSteps - 1, 0},
		{"a burst again", calmBytes, 1, 0},
		{"the pause after it", mib, calmSteps, 1},
		{"a burst before its end", calmBytes, 1, 0},
		{"a whole pause", mib / 8, 100, 2},
		{"slow use", mib, slowBytes / mib, 0},
		{"slow use, and what is kept for a while", mib, calmAgain, 1},
		{"slow use for long", mib, 10 * (slowBytes/mib + calmAgain), 10},
		{"a load without a pause", calmBytes, busySteps, 0},
		{"a load without a pause for very long", calmBytes, 10*busySteps - 100, 10},
		{"the pause after that", 1, 100, 2},
		{"as much as is no burst", calmBytes - 1, 10 * (slowBytes/calmBytes + 1 + calmAgain), 10},
	} {
		if got := pauses(g, step.times, step.bytes); got != step.want {
			t.Errorf("%s: due %d times, want %d", step.what, got, step.want)
		}
	}
}

// What is due while it cannot be done, for something else is under way or because memory
// is short, is done later.
func TestWhatIsDueStaysDue(t *testing.T) {
	g := newGiveBack()
	for range 3 * calmAgain {
		g.due(g.last)
	}
	if given := pauses(g, 2*calmAgain, 0); given != 2 {
		t.Errorf("given back %d times after it was put off, want 2", given)
	}
	for range 3 * calmAgain {
		g.due(g.last)
		g.short()
	}
	if given := pauses(g, 2*calmAgain, 0); given != 2 {
		t.Errorf("given back %d times after memory was short, want 2", given)
	}
}

// The process goes on working after its memory was given back, and holds less.
func TestMemoryIsReallyGivenBack(t *testing.T) {
	b := newBench(t)
	b.Service.deps.Free, b.Service.deps.DropProgram = giveBackMemory, (&programPages{root: os.DirFS("/")}).drop
	b.connect()
	ballast := make([]byte, 64<<20)
	for i := range ballast {
		ballast[i] = 1
	}
	read := func() int64 {
		content, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		n, err := parseStatm(content, int64(os.Getpagesize()))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := read()
	ballast = nil
	b.shed(t.Context(), bus.PressureNormal)
	if after := read(); before-after < 32<<20 {
		t.Errorf("held %d bytes before and %d after", before, after)
	}
	if err := b.store.QueryRow(t.Context(), `SELECT 1`).Scan(new(int)); err != nil {
		t.Error(err)
	}
}
