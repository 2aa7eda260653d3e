// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// files is a fake root whose files a test changes while the room reads them, open
// ones too: the kernel's are like that.
type files struct {
	mu   sync.Mutex
	root map[string]string
}

func (f *files) Open(name string) (fs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := tree(f.root).Open(name)
	return &living{File: file, of: f, name: name}, err
}

// living is an open file that has the content of now.
type living struct {
	fs.File
	of   *files
	name string
}

func (l *living) ReadAt(p []byte, _ int64) (int, error) {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	content, ok := l.of.root[l.name]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return copy(p, content), io.EOF
}

// set gives a file its content; none removes it.
func (f *files) set(name string, content ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.root, name)
	for _, c := range content {
		f.root[name] = c
	}
}

// rss sets the resident set in MiB; pages are a MiB in these tests.
func (f *files) rss(mib int) { f.set(statmFile, fmt.Sprintf("9999 %d 3 4 0 5 0\n", mib)) }

type bench struct {
	*Service
	*files
	t        *testing.T
	store    *sqlite.Store
	events   *eventlog.Log
	freed    atomic.Int64 // times that memory was returned to the system
	readings atomic.Int64

	mu     sync.Mutex
	time   time.Time
	golang Go
	limits []int64 // that Go was given
	grows  []int   // percentages that Go was given
	grow   int     // the one before
}

func (b *bench) growGo(percent int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grows = append(b.grows, percent)
	before := b.grow
	b.grow = percent
	return before
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, files: &files{root: map[string]string{}}, store: roomtest.Store(t, Schema), time: time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC),
		grow: usualPercent, golang: Go{Objects: 5 << 20, Live: 4 << 20, Resident: 8 << 20, Overhead: 1 << 20}}
	b.rss(10)
	b.events = eventlog.New(b.store)
	b.again()
	return b
}

// again makes the room anew, as a process that comes after another does.
func (b *bench) again() {
	b.t.Helper()
	s, err := New(Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}, Deps{
		Store: b.store, Events: b.events, Logger: bustest.Logger(b.t), Root: b.files, PageSize: 1 << 20, Every: time.Millisecond,
		Go: b.readGo, GoLimit: b.limitGo, GoPercent: b.growGo, Free: func() { b.freed.Add(1) }, DropProgram: func() error { return nil }, Now: b.now,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Service = s
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.time
}

// later moves the clock.
func (b *bench) later(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.time = b.time.Add(d)
}

func (b *bench) readGo() Go {
	b.readings.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.golang
}

func (b *bench) limitGo(n int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := int64(math.MaxInt64)
	if len(b.limits) > 0 {
		before = b.limits[len(b.limits)-1]
	}
	if n >= 0 {
		b.limits = append(b.limits, n)
	}
	return before
}

// connect puts the room on a bus without running it.
func (b *bench) connect() *bustest.Bus {
	b.t.Helper()
	house := bustest.New(b.t)
	d := b.Door()
	b.begin(house.Connect(b.t, d.Name, d.Says...))
	return house
}

// flush waits until everything queued for the database is written.
func (b *bench) flush() {
	b.t.Helper()
	if err := b.store.Write(b.t.Context(), func(*sqlite.Tx) error { return nil }); err != nil {
		b.t.Fatal(err)
	}
}

// said are the changes of level on record, as "normal>warn".
func (b *bench) said() []string {
	b.t.Helper()
	b.flush()
	rows, err := b.events.After(b.t.Context(), 0, 100)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		var f bus.MemoryFact
		if err := json.Unmarshal(r.Payload, &f); err != nil {
			b.t.Fatal(err)
		}
		out = append(out, f.From+">"+f.Pressure)
	}
	return out
}

func codes(problems []bus.Problem) (out []string) {
	for _, p := range problems {
		out = append(out, p.Code)
	}
	return out
}

func TestChangesAreSaidOnce(t *testing.T) {
	b := newBench(t)
	for _, mib := range []int{50, 81, 85, 78, 96, 91, 60, 60, 60} {
		b.rss(mib)
		b.step()
		b.flush() // what is said with a reading is on record before the next
		b.later(dwell / 2)
	}
	want := []string{"normal>warn", "warn>critical", "critical>normal"}
	if got := b.said(); !slices.Equal(got, want) {
		t.Errorf("said %v, want %v", got, want)
	}
}

// An event that cannot be written is said later, as the change that is due then.
func TestUnwrittenEventComesLater(t *testing.T) {
	b := newBench(t)
	b.flush()
	stuck, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.store.Write(t.Context(), func(*sqlite.Tx) error { close(stuck); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-stuck // the database does nothing now
	for _, mib := range []int{81, 96} {
		b.rss(mib)
		b.step() // does not wait for it
	}
	if m := b.last(); m.Pressure != bus.PressureCritical {
		t.Errorf("level %s", m.Pressure)
	}
	close(release)
	wg.Wait()
	b.flush()
	b.step()
	if got, want := b.said(), []string{"normal>warn", "warn>critical"}; !slices.Equal(got, want) {
		t.Errorf("said %v, want %v", got, want)
	}
}

func TestUnwritableEventIsTriedAgain(t *testing.T) {
	b := newBench(t)
	if err := b.store.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`ALTER TABLE event RENAME TO gone`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	b.rss(81)
	b.step()
	b.flush()
	if err := b.store.Write(t.Context(), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`ALTER TABLE gone RENAME TO event`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := b.said(); len(got) > 0 {
		t.Fatalf("said %v", got)
	}
	b.step()
	if got := b.said(); !slices.Equal(got, []string{"normal>warn"}) {
		t.Errorf("said %v", got)
	}
}

// What cannot be read is told as that, and comes back by itself.
func TestWithoutEvidence(t *testing.T) {
	b := newBench(t)
	reg := prometheus.NewPedanticRegistry()
	for _, c := range b.Door().Metrics {
		reg.MustRegister(c)
	}
	if _, err := b.answer(t.Context(), bus.MemoryQuery{}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Errorf("before the first reading: %v", err)
	}
	b.rss(97)
	b.step()
	if got := codes(b.health()); !slices.Equal(got, []string{"memory_critical"}) {
		t.Errorf("health %v", got)
	}
	for name, spoil := range map[string]func(){
		"missing": func() { b.set(statmFile) },
		"garbage": func() { b.set(statmFile, "once upon a time\n") },
		"empty":   func() { b.set(statmFile, "") },
	} {
		t.Run(name, func(t *testing.T) {
			spoil()
			b.step()
			if _, err := b.answer(t.Context(), bus.MemoryQuery{}); bus.CodeOf(err) != bus.CodeUnavailable || !strings.Contains(err.Error(), statmFile) {
				t.Errorf("answer: %v", err)
			}
			if got := codes(b.health()); !slices.Equal(got, []string{"memory_unreadable"}) {
				t.Errorf("health %v", got)
			}
			if n, err := testutil.GatherAndCount(reg); err != nil || n != 5+1+len(bus.MemoryShed.Spec().Heard) {
				t.Errorf("%d gauges, %v; want the two limits, the baseline, the history and what was shed", n, err)
			}
		})
	}
	b.rss(50)
	b.step()
	b.later(dwell)
	b.step()
	if m, err := b.answer(t.Context(), bus.MemoryQuery{}); err != nil || m.RSS != 50<<20 || m.Pressure != bus.PressureNormal || len(b.health()) > 0 {
		t.Errorf("%+v, %v, %v", m, err, b.health())
	}
}

// What can be read no longer holds nobody up: the level is said for a while, then it is
// normal. It is what a reading says as soon as there is one.
func TestLevelWithoutEvidence(t *testing.T) {
	b := newBench(t)
	house, h := b.connect(), &hearers{}
	h.join(t, house)
	b.rss(97)
	b.step()
	b.later(time.Minute) // as after a suspension: what counts is when it was read
	b.step()
	b.set(statmFile)
	for range 5 {
		b.flush() // what is said with a reading is on record before the next
		b.later(repeat)
		b.step()
	}
	c, n := bus.PressureCritical, bus.PressureNormal
	want := []string{c, c, c, c, n}
	bustest.Eventually(t, "all is heard", func() bool { _, levels := h.seen(); return len(levels) >= len(want) })
	if _, levels := h.seen(); !slices.Equal(levels, want) {
		t.Errorf("heard %v, want %v", levels, want)
	}
	if got := b.said(); !slices.Equal(got, []string{"normal>critical", "critical>normal"}) {
		t.Errorf("said %v", got)
	}
	b.rss(90) // of what was known before nothing is left: it is a warning, not still critical
	b.step()
	if m := b.last(); m.Pressure != bus.PressureWarn {
		t.Errorf("read again: %+v", m.Memory)
	}
}

// The control group's limit is followed while the process runs.
func TestLimit(t *testing.T) {
	b := newBench(t)
	want := func(mib int64, problems ...string) {
		t.Helper()
		for range limitsEvery {
			b.step()
		}
		m, err := b.answer(t.Context(), bus.MemoryQuery{})
		if err != nil || m.Limit != mib<<20 {
			t.Errorf("limit %d, %v; want %d MiB", m.Limit, err, mib)
		}
		if got := codes(b.health()); !slices.Equal(got, problems) {
			t.Errorf("health %v, want %v", got, problems)
		}
	}
	want(100)
	b.set(cgroupFile, "0::/\n")
	b.set("sys/fs/cgroup/memory.max", "52428800\n")
	want(50)
	b.set("sys/fs/cgroup/memory.max", "1073741824\n")
	want(100)
	b.set("sys/fs/cgroup/memory.max", "???\n")
	want(100, "memory_limit_unreadable")
	b.set("sys/fs/cgroup/memory.max", "max\n")
	want(100)
}

func TestGauges(t *testing.T) {
	b := newBench(t)
	b.rss(81)
	b.step()
	want := `# HELP blufio_memory_baseline_bytes Fixed weight that the thresholds leave out.
# TYPE blufio_memory_baseline_bytes gauge
blufio_memory_baseline_bytes 0
# HELP blufio_memory_go_limit_bytes Memory limit of the Go runtime: what the two limits leave for it.
# TYPE blufio_memory_go_limit_bytes gauge
blufio_memory_go_limit_bytes 1.6777216e+07
# HELP blufio_memory_heap_bytes Bytes of objects on the Go heap, live and not yet swept.
# TYPE blufio_memory_heap_bytes gauge
blufio_memory_heap_bytes 5.24288e+06
# HELP blufio_memory_history_rows Rows of memory's history, one for each full hour, which doctor compares with now.
# TYPE blufio_memory_history_rows gauge
blufio_memory_history_rows 0
# HELP blufio_memory_history_rows_limit Bound of blufio_memory_history_rows, fixed: the oldest are forgotten.
# TYPE blufio_memory_history_rows_limit gauge
blufio_memory_history_rows_limit 720
# HELP blufio_memory_limit_bytes The configured limit or the control group's, whichever is lower; how near either is tells blufio_memory_used_ratio, not the resident set over this.
# TYPE blufio_memory_limit_bytes gauge
blufio_memory_limit_bytes 1.048576e+08
# HELP blufio_memory_pressure Memory pressure level: 0 normal, 1 warn, 2 critical.
# TYPE blufio_memory_pressure gauge
blufio_memory_pressure 1
# HELP blufio_memory_resident_bytes Bytes that the Go runtime has taken from the system and not given back: the heap, stacks and its own.
# TYPE blufio_memory_resident_bytes gauge
blufio_memory_resident_bytes 8.388608e+06
# HELP blufio_memory_rss_bytes Resident set of the process, its program file's pages included; absent when it cannot be read.
# TYPE blufio_memory_rss_bytes gauge
blufio_memory_rss_bytes 8.4934656e+07
# HELP blufio_memory_rss_bytes_limit Bound of blufio_memory_rss_bytes, memory.limit_mb.
# TYPE blufio_memory_rss_bytes_limit gauge
blufio_memory_rss_bytes_limit 1.048576e+08
# HELP blufio_memory_used_ratio Share taken of the limit or of the control group's, whichever is nearer, as the thresholds see it; absent when it cannot be read.
# TYPE blufio_memory_used_ratio gauge
blufio_memory_used_ratio 0.81
`
	if err := testutil.CollectAndCompare(b.Door().Metrics[0], strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// On the bus the answer is the last reading, and it is there from the start.
func TestOnTheBus(t *testing.T) {
	b := newBench(t)
	house := bustest.New(t)
	roomtest.Start(t, house, b.Service)
	asker := house.Connect(t, "control", bus.MemoryRead)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := bus.MemoryRead.Ask(ctx, asker, bus.MemoryQuery{})
	if want := (bus.Memory{Heap: 5 << 20, RSS: 10 << 20, Limit: 100 << 20, Used: 10, Pressure: bus.PressureNormal}); err != nil || m != want {
		t.Fatalf("%+v, %v", m, err)
	}
	b.rss(99)
	select {
	case <-b.events.Wake(): // the room's own ticker has seen it and the event is written
	case <-ctx.Done():
		t.Fatal("no event")
	}
	if m, err = bus.MemoryRead.Ask(ctx, asker, bus.MemoryQuery{}); err != nil || m.Pressure != bus.PressureCritical {
		t.Errorf("%+v, %v", m, err)
	}
	if got := b.said(); !slices.Equal(got, []string{"normal>critical"}) {
		t.Errorf("said %v", got)
	}
}

func TestConfig(t *testing.T) {
	type root struct {
		Memory Config `koanf:"memory" doc:"Memory."`
	}
	for name, tc := range map[string]struct {
		flags map[string]string
		ok    bool
	}{
		"defaults":             {nil, true},
		"other thresholds":     {map[string]string{"memory.warn_percent": "50", "memory.critical_percent": "60"}, true},
		"thresholds reversed":  {map[string]string{"memory.warn_percent": "96"}, false},
		"thresholds the same":  {map[string]string{"memory.warn_percent": "95"}, false},
		"a limit far too low":  {map[string]string{"memory.limit_mb": "1"}, false},
		"a threshold over 100": {map[string]string{"memory.critical_percent": "101"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := root{Memory: Defaults()}
			_, err := config.Load(&c, config.Sources{Flags: tc.flags})
			if (err == nil) != tc.ok {
				t.Errorf("%v", err)
			}
			if _, err := New(c.Memory, Deps{}); tc.ok && err != nil {
				t.Error(err)
			}
		})
	}
	if missing := config.Undocumented(root{Memory: Defaults()}); len(missing) > 0 {
		t.Errorf("undocumented: %v", missing)
	}
	for _, cfg := range []Config{{}, {LimitMB: 100, WarnPercent: 90, CriticalPercent: 80}, {LimitMB: -1, WarnPercent: 80, CriticalPercent: 90}} {
		if _, err := New(cfg, Deps{}); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
