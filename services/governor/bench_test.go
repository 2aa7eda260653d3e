// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"log/slog"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/roomtest"
	"golang.org/x/sys/unix"
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
	if n := allocated(s); n > 0 {
		t.Errorf("%v allocations in %d readings", n, limitsEvery-1)
	}
}

// allocated counts the allocations of all readings between two looks at the limits, in the
// quietest of some rounds: Go's runtime counts with the process, and allocates now and
// then, as for its scavenger's timer or a type assertion it has seen a thousand times.
func allocated(s *Service) float64 {
	least := math.Inf(1)
	for range 5 {
		least = min(least, testing.AllocsPerRun(1, func() {
			for s.ticks = 1; s.ticks != 0; { // the limits have just been read
				s.step()
			}
		}))
	}
	return least
}

// BenchmarkGoverning is what a second takes of a processor, with the real pace of the
// readings, for a process is slower after a pause: of readings, and of a process that
// sleeps. It is counted for the whole process, so what wakes it up is in it. `make bench`
// runs it and has the bars.
func BenchmarkGoverning(b *testing.B) {
	b.Run("asleep", asleep)
	b.Run("reading", reads)
}

// asleep is the same process without readings.
func asleep(b *testing.B) {
	machine(b)
	before := used(b)
	time.Sleep(time.Duration(b.N) * time.Second)
	b.ReportMetric(float64(used(b)-before)/float64(time.Millisecond)/float64(b.N), "cpu-ms/s")
	b.ReportMetric(0, "allocs")
}

func reads(b *testing.B) {
	s := machine(b)
	allocs := allocated(s)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	before := used(b)
	for b.Loop() {
		<-tick.C
		s.step()
	}
	b.ReportMetric(float64(used(b)-before)/float64(time.Millisecond)/float64(b.N), "cpu-ms/s")
	b.ReportMetric(allocs, "allocs")
}

// used is the processor's time of this process.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
