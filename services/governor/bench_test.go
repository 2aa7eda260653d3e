// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/roomtest"
)

// machine is a room that reads the machine it runs on.
func machine(t testing.TB) *Service {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /proc")
	}
	store := roomtest.Store(t, Schema)
	cfg := Defaults()
	cfg.LimitMB = 1 << 20 // whatever the test binary takes
	s, err := New(cfg, Deps{Store: store, Events: eventlog.New(store), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	s.step()
	if m := s.last(); m.err != nil || m.Pressure != bus.PressureNormal {
		t.Skipf("this machine is no calm one: %+v", m)
	}
	s.back.owed = 0
	return s
}

// A reading allocates nothing. Once a minute, when the control group's limits are
// read again, it may.
func TestReadingDoesNotAllocate(t *testing.T) {
	s := machine(t)
	if n := testing.AllocsPerRun(limitsEvery-5, s.step); n > 0 {
		t.Errorf("%v allocations for each reading", n)
	}
}

// BenchmarkStep is the cost of one reading of this machine, which is taken once a
// second: 1 ms would be 0.1 % of a core.
func BenchmarkStep(b *testing.B) {
	s := machine(b)
	b.ReportAllocs()
	for b.Loop() {
		s.step()
	}
}
