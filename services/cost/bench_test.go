// SPDX-License-Identifier: MIT OR Apache-2.0

package cost

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/roomtest"
)

// BenchmarkCall is one model call's bookkeeping: a reservation and a settlement,
// each durable when it is answered. Run it with -cpu 1,32 to see calls share
// commits.
func BenchmarkCall(b *testing.B) {
	store := roomtest.Store(b, Schema)
	cfg := Config{LedgerDays: 400, Prices: map[string]Price{"m": {Input: 1, Output: 10}}}
	s, err := New(cfg, Deps{Store: store, Events: eventlog.New(store), Logger: bustest.Logger(b)})
	if err != nil {
		b.Fatal(err)
	}
	var calls atomic.Int64
	before := store.Stats().Commits
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			call := bus.ModelCall{ID: fmt.Sprint(calls.Add(1)), Model: "m", Purpose: "turn"}
			if _, err := s.reserve(b.Context(), bus.Reserve{ModelCall: call, InputTokens: 100}); err != nil {
				b.Error(err)
			}
			if _, err := s.settle(b.Context(), bus.Settle{ModelCall: call, Usage: bus.Usage{Input: 50}}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(store.Stats().Commits-before)/float64(b.N), "commits/op")
}
