// SPDX-License-Identifier: MIT OR Apache-2.0

package bus_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
)

// What a burst of requests leaves in the server is gone after ForgetMatches and one more
// answer of each room.
func TestForgetMatches(t *testing.T) {
	house := bustest.New(t)
	room, asker := house.Connect(t, "cost"), house.Connect(t, "cli", bus.CostGet)
	if err := room.Handle(t.Context(), bus.CostGet.Answer(func(context.Context, bus.CostQuery) (bus.CostSummary, error) { return bus.CostSummary{}, nil })); err != nil {
		t.Fatal(err)
	}
	ask := func(times int) uint64 {
		for range times {
			if _, err := bus.CostGet.Ask(t.Context(), asker, bus.CostQuery{}); err != nil {
				t.Fatal(err)
			}
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools hold goes with the second
		runtime.ReadMemStats(&m)
		return m.HeapObjects
	}
	before := ask(1)
	full := ask(500)
	if err := room.ForgetMatches(); err != nil {
		t.Fatal(err)
	}
	after := ask(1)
	t.Logf("%d objects at first, %d after 500 requests, %d afterwards", before, full, after)
	if full < before+1000 || after > before+(full-before)/2 {
		t.Errorf("%d objects at first, %d after 500 requests, %d afterwards", before, full, after)
	}
}
