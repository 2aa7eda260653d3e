// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// hearers are a room that gives something up and one that hears the level.
type hearers struct {
	mu     sync.Mutex
	asked  []string
	levels []string
}

func (h *hearers) join(t *testing.T, house *bustest.Bus) {
	t.Helper()
	c := house.Connect(t, "agent")
	if err := c.Handle(t.Context(), bus.MemoryShed.To("agent").Answer(func(_ context.Context, q bus.Shed) (bus.Freed, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.asked = append(h.asked, q.Pressure)
		return bus.Freed{Bytes: 1000}, nil
	}), bus.MemoryLevel.On(func(_ context.Context, l bus.Level) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.levels = append(h.levels, l.Pressure)
	})); err != nil {
		t.Fatal(err)
	}
}

func (h *hearers) seen() (asked, levels []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked), slices.Clone(h.levels)
}

// Under pressure every room is asked, what it gave up is counted, and memory goes
// back to the system; not with every reading, but again while it lasts. A room that
// is not there holds nobody up.
func TestShedding(t *testing.T) {
	b := newBench(t)
	house, h := bustest.New(t), &hearers{}
	h.join(t, house)
	roomtest.Start(t, house, b.Service)
	b.rss(82)
	bustest.Eventually(t, "the rooms are asked once", func() bool { asked, _ := h.seen(); return len(asked) == 1 && b.freed.Load() == 1 })
	bustest.Eventually(t, "many readings pass", func() bool { return b.taken() > 50 })
	if asked, _ := h.seen(); !slices.Equal(asked, []string{bus.PressureWarn}) {
		t.Errorf("asked %v within %s", asked, shedEvery)
	}
	b.later(shedEvery)
	bustest.Eventually(t, "the rooms are asked again", func() bool { asked, _ := h.seen(); return len(asked) == 2 && b.freed.Load() == 2 })
	if got := testutil.ToFloat64(b.shedBytes.WithLabelValues("agent")); got != 2000 {
		t.Errorf("%v bytes counted", got)
	}
	if n := testutil.CollectAndCount(b.shedBytes); n != 1+len(bus.MemoryShed.Spec().Heard) {
		t.Errorf("%d rooms are counted", n)
	}
	b.rss(20)
	b.later(dwell)
	bustest.Eventually(t, "the level falls", func() bool { b.later(dwell); return b.last().Pressure == bus.PressureNormal })
	_, levels := h.seen()
	if len(levels) == 0 || levels[0] != bus.PressureNormal || !slices.Contains(levels, bus.PressureWarn) {
		t.Errorf("levels %v", levels)
	}
	bustest.Eventually(t, "in the pause after it memory is given back twice", func() bool {
		asked, _ := h.seen()
		return slices.Equal(asked[max(0, len(asked)-2):], []string{bus.PressureNormal, bus.PressureNormal})
	})
}

// taken counts readings by the clock of the rate: Go is asked once for each.
func (b *bench) taken() int { return int(b.readings.Load()) }

// A level that is not normal is said again: who came later, or missed it, knows soon.
func TestLevelIsRepeated(t *testing.T) {
	b := newBench(t)
	house, h := b.connect(), &hearers{}
	h.join(t, house)
	b.rss(97)
	for range 4 {
		b.step()
		b.later(repeat)
	}
	b.rss(10)
	b.step()
	b.later(dwell)
	for range 4 {
		b.step()
		b.later(repeat)
	}
	c := bus.PressureCritical
	want := []string{c, c, c, c, c, bus.PressureNormal}
	bustest.Eventually(t, "all is heard", func() bool { _, levels := h.seen(); return len(levels) >= len(want) })
	if _, levels := h.seen(); !slices.Equal(levels, want) {
		t.Errorf("heard %v", levels)
	}
}

// In the pause after a burst the rooms give up only what is spare.
func TestPauseSheds(t *testing.T) {
	b := newBench(t)
	house, h := bustest.New(t), &hearers{}
	h.join(t, house)
	roomtest.Start(t, house, b.Service)
	bustest.Eventually(t, "the pause after the start", func() bool { return b.freed.Load() == 1 })
	if asked, _ := h.seen(); !slices.Equal(asked, []string{bus.PressureNormal}) {
		t.Errorf("asked %v", asked)
	}
}

// What counts of a control group is what the kernel cannot get back, whatever its
// pages of files; and it counts as the owner's limit does.
func TestControlGroupCounts(t *testing.T) {
	b := newBench(t)
	group := func(current, anon int) {
		b.set("sys/fs/cgroup/memory.current", fmt.Sprintln(current<<20))
		b.set("sys/fs/cgroup/memory.stat", fmt.Sprintf("anon %d\nkernel 0\n", anon<<20))
	}
	b.set(cgroupFile, "0::/\n")
	b.set("sys/fs/cgroup/memory.max", fmt.Sprintln(50<<20))
	b.rss(55) // more than the group's limit: 30 of them are the program's file
	group(50, 25)
	b.step()
	if m := b.last(); m.Pressure != bus.PressureNormal || m.Limit != 50<<20 || m.Used != 55 {
		t.Errorf("a backup that fills the page cache: %+v", m.Memory)
	}
	group(50, 41)
	b.step()
	if m := b.last(); m.Pressure != bus.PressureWarn || m.Used != 82 {
		t.Errorf("82 %% of the group: %+v", m.Memory)
	}
	group(50, 48)
	b.step()
	if m := b.last(); m.Pressure != bus.PressureCritical || m.Used != 96 {
		t.Errorf("96 %% of the group: %+v", m.Memory)
	}
	b.set("sys/fs/cgroup/memory.stat", "garbage")
	b.rss(20)
	for range 3 {
		b.step() // the process stands for the group
		b.later(dwell)
	}
	if m := b.last(); m.Pressure != bus.PressureNormal {
		t.Errorf("without memory.stat: %+v", m.Memory)
	}
}

// Go's memory limit is what others leave of the bound, follows it, and never goes so
// low that the collector does nothing else.
func TestGoLimit(t *testing.T) {
	b := newBench(t)
	const mib = 1 << 20
	step := func(rss int, g Go, want int64) {
		t.Helper()
		b.rss(rss)
		b.mu.Lock()
		b.golang = g
		b.mu.Unlock()
		b.step()
		if got := b.limitGo(-1); got != want*mib {
			t.Errorf("rss %d MiB, %+v: %d MiB, want %d", rss, g, got/mib, want)
		}
	}
	step(30, Go{Live: 5 * mib, Resident: 20 * mib, Overhead: 3 * mib}, 65)   // 75 less 10 outside
	step(31, Go{Live: 5 * mib, Resident: 20 * mib, Overhead: 3 * mib}, 65)   // not worth it
	step(60, Go{Live: 5 * mib, Resident: 20 * mib, Overhead: 3 * mib}, 35)   // 40 outside
	step(99, Go{Live: 2 * mib, Resident: 10 * mib, Overhead: 1 * mib}, 16)   // nothing left: the least
	step(99, Go{Live: 80 * mib, Resident: 90 * mib, Overhead: 4 * mib}, 104) // a live heap may grow by a quarter
	b.mu.Lock()
	n := len(b.limits)
	b.mu.Unlock()
	if n != 4 {
		t.Errorf("set %d times", n)
	}
	b.set(cgroupFile, "0::/\n")
	b.set("sys/fs/cgroup/memory.max", fmt.Sprintln(60*mib))
	b.set("sys/fs/cgroup/memory.stat", fmt.Sprintf("anon %d\nkernel 0\n", 25*mib))
	b.ticks = 0
	step(30, Go{Live: 5 * mib, Resident: 20 * mib, Overhead: 3 * mib}, 40) // of the group's 45, 5 are outside
	b.Service.deps.Baseline = func() (all, anonymous int64) { return 40 * mib, 20 * mib }
	step(70, Go{Live: 5 * mib, Resident: 20 * mib, Overhead: 3 * mib}, 35)         // of its own 85 (40 and 75 % of 60) 50 are outside
	b.set("sys/fs/cgroup/memory.stat", fmt.Sprintf("anon %d\nkernel 0\n", 45*mib)) // of the group's 50 (20 and 75 % of 40) 25 are
	step(70, Go{Live: 5 * mib, Resident: 20 * mib, Overhead: 3 * mib}, 25)
}

// A control group that cannot be read for once keeps its limit, and that is told.
func TestGroupsLimitStays(t *testing.T) {
	b := newBench(t)
	b.set(cgroupFile, "0::/\n")
	b.set("sys/fs/cgroup/memory.max", fmt.Sprintln(60*mib))
	b.set("sys/fs/cgroup/memory.stat", fmt.Sprintf("anon %d\nkernel 0\n", 25*mib))
	b.step()
	for _, file := range []string{cgroupFile, "sys/fs/cgroup/memory.max"} {
		b.set(file, "garbage\n")
		b.ticks = 0
		b.step()
		if r := b.last(); r.groupLimit != 60*mib || r.group != 25*mib || r.limitErr == nil {
			t.Errorf("without %s: %d of %d, %v", file, r.group, r.groupLimit, r.limitErr)
		}
	}
	b.set(cgroupFile, "0::/own\n")
	b.set("sys/fs/cgroup/memory.max", fmt.Sprintln(600*mib))
	for _, own := range []struct {
		max  string
		want int64
	}{{"garbage\n", 60 * mib}, {fmt.Sprintln(50 * mib), 50 * mib}} {
		b.set("sys/fs/cgroup/own/memory.max", own.max)
		b.ticks = 0
		b.step()
		if r := b.last(); r.groupLimit != own.want {
			t.Errorf("with %q below 600 MiB: %d", own.max, r.groupLimit)
		}
	}
	b.set(cgroupFile, "0::/\n")
	b.set("sys/fs/cgroup/memory.max", "max\n")
	b.ticks = 0
	b.step()
	if r := b.last(); r.groupLimit != 0 || r.limitErr != nil {
		t.Errorf("without a limit: %d, %v", r.groupLimit, r.limitErr)
	}
}

// The limit that was there is there again afterwards, and was never passed.
func TestGoLimitIsGivenBack(t *testing.T) {
	b := newBench(t)
	b.goMost = 50 << 20
	stop := roomtest.Start(t, bustest.New(t), b.Service)
	bustest.Eventually(t, "it is steered", func() bool { return b.taken() > 3 })
	b.rss(80)
	bustest.Eventually(t, "it is lowered", func() bool { return b.limitGo(-1) == 16<<20 })
	stop()
	if got := b.limitGo(-1); got != 50<<20 {
		t.Errorf("left at %d", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := slices.Max(b.limits); got > 50<<20 {
		t.Errorf("was at %d", got)
	}
}

// The heap grows by less between two collections while the room runs, unless the
// owner has said by how much.
func TestGoGrowsByLess(t *testing.T) {
	for before, want := range map[int][]int{usualPercent: {growPercent, usualPercent}, 200: {growPercent, 200}, -1: {growPercent, -1}} {
		b := newBench(t)
		b.grow = before
		roomtest.Start(t, bustest.New(t), b.Service)()
		if !slices.Equal(b.grows, want) {
			t.Errorf("from %d: %v, want %v", before, b.grows, want)
		}
	}
}

// Long after a burst it grows as usual, and by less again as soon as there is one or
// memory is short. What the owner has set stays.
func TestGoGrowsAsUsualAtRest(t *testing.T) {
	for before, want := range map[int][]int{
		usualPercent: {growPercent, usualPercent, growPercent, usualPercent, growPercent, usualPercent},
		200:          {growPercent, 200},
	} {
		b := newBench(t)
		b.grow = before
		b.connect()
		for range 2 * restSteps {
			b.step()
		}
		b.mu.Lock()
		b.golang.Allocated += calmBytes
		b.mu.Unlock()
		for range restSteps + 1 {
			b.step()
		}
		b.rss(85)
		b.step()
		b.end()
		if !slices.Equal(b.grows, want) {
			t.Errorf("from %d: %v, want %v", before, b.grows, want)
		}
	}
}

// An embedding model's weight is not held against the limit.
func TestBaseline(t *testing.T) {
	b := newBench(t)
	weight := int64(50 << 20)
	b.Service.deps.Baseline = func() (all, anonymous int64) { return weight, weight / 16 }
	b.rss(85) // 35 of 50
	b.step()
	if m := b.last(); m.Pressure != bus.PressureNormal || m.Baseline != weight {
		t.Errorf("%+v", m.Memory)
	}
	weight = 0
	b.step()
	if m := b.last(); m.Pressure != bus.PressureWarn {
		t.Errorf("without: %+v", m.Memory)
	}
}

// Of a control group's limit only what no file backs is left out: the kernel gets the
// rest of a model back, and it is not in what counts. Where the process stands for the
// group, all of it is.
func TestBaselineInControlGroup(t *testing.T) {
	const weight, anonymous = 48 << 20, 2 << 20
	b := newBench(t)
	b.cfg.LimitMB = 200
	b.Service.deps.Baseline = func() (int64, int64) { return weight, anonymous }
	b.set(cgroupFile, "0::/\n")
	b.set("sys/fs/cgroup/memory.current", fmt.Sprintln(128<<20))
	b.set("sys/fs/cgroup/memory.max", fmt.Sprintln(128<<20))
	for _, c := range []struct {
		anon, rss int
		want      string
	}{
		{102, 120, bus.PressureNormal}, {103, 120, bus.PressureWarn}, // 80 % of 126 and 2 more are 102.8
		{121, 120, bus.PressureWarn}, {122, 120, bus.PressureCritical}, // 95 % and 2: 121.7
		{0, 111, bus.PressureNormal}, {0, 112, bus.PressureWarn}, {0, 124, bus.PressureCritical}, // 80 % of 80 and 48 more, and 95 %
	} {
		b.levels = b.cfg.levels()
		b.set("sys/fs/cgroup/memory.stat", fmt.Sprintf("anon %d\nkernel 0\n", c.anon<<20))
		b.rss(c.rss)
		b.step()
		if m := b.last(); m.Pressure != c.want || m.Baseline != weight {
			t.Errorf("%+v: %s, want %s", c, m.Pressure, c.want)
		}
	}
}

// gauge is the value of one without labels.
func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// What is told of memory is what is judged: of the bound that is nearer.
func TestTold(t *testing.T) {
	b := newBench(t)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(b.Door().Metrics[0])
	weight, anonymous := int64(0), int64(0)
	b.Service.deps.Baseline = func() (int64, int64) { return weight, anonymous }
	b.set(cgroupFile, "0::/\n")
	b.set("sys/fs/cgroup/memory.current", "1\n")
	for _, c := range []struct {
		anon, limit, rss, weight int // MiB
		ratio                    float64
		used                     int64 // percent, rounded down
		told                     string
	}{
		{97, 1000, 97, 0, 0.97, 97, "97 of 100 MiB are taken"},
		{48, 50, 60, 0, 0.96, 96, "48 of 50 MiB of the control group are taken"},
		{48, 50, 60, 16, 47. / 49, 95, "48 of 50 MiB of the control group are taken, 95 % without the model"},
		{30, 50, 98, 20, 0.975, 97, "98 of 100 MiB are taken, 97 % without the model"},
		{30, 50, 120, 0, 1.2, 120, "120 of 100 MiB are taken"},
	} {
		weight, anonymous = int64(c.weight)<<20, int64(c.weight)<<20/16
		b.set("sys/fs/cgroup/memory.max", fmt.Sprintln(c.limit<<20))
		b.set("sys/fs/cgroup/memory.stat", fmt.Sprintf("anon %d\nkernel 0\n", c.anon<<20))
		b.rss(c.rss)
		b.ticks = 0
		b.step()
		if got := gauge(t, reg, "blufio_memory_used_ratio"); math.Abs(got-c.ratio) > 1e-9 {
			t.Errorf("%+v: the gauge says %v", c, got)
		}
		if m, err := b.answer(t.Context(), bus.MemoryQuery{}); err != nil || m.Used != c.used {
			t.Errorf("%+v: answered %+v, %v", c, m, err)
		}
		if got := b.health(); len(got) != 1 || got[0].Title != "memory is about to run out: "+c.told {
			t.Errorf("%+v: health %+v", c, got)
		}
		wants(t, b.probeMemory(t.Context()), bus.LevelFail, c.told)
	}
}

// What rises on from one shedding to the next is critical below the threshold.
func TestRisingInSpiteOfShedding(t *testing.T) {
	b := newBench(t)
	b.connect()
	for _, tc := range []struct {
		rss  int
		want string
	}{{82, bus.PressureWarn}, {82, bus.PressureWarn}, {84, bus.PressureWarn}, {87, bus.PressureWarn}, {89, bus.PressureCritical}, {89, bus.PressureCritical}} {
		b.rss(tc.rss)
		b.step()
		if m := b.last(); m.Pressure != tc.want {
			t.Errorf("%d MiB after a shedding: %s, want %s", tc.rss, m.Pressure, tc.want)
		}
		b.shed(t.Context(), b.last().Pressure)
		b.later(shedEvery)
	}
}
