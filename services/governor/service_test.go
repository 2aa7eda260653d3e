// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
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

// files is a fake root whose files a test changes while the room reads them.
type files struct {
	mu   sync.Mutex
	root map[string]string
}

func (f *files) Open(name string) (fs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return tree(f.root).Open(name)
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
	t      *testing.T
	store  *sqlite.Store
	events *eventlog.Log
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, files: &files{root: map[string]string{}}, store: roomtest.Store(t)}
	b.rss(10)
	b.events = eventlog.New(b.store)
	s, err := New(Config{LimitMB: 100, WarnPercent: 80, CriticalPercent: 95}, Deps{
		Store: b.store, Events: b.events, Logger: bustest.Logger(t), Root: b.files, PageSize: 1 << 20, Every: time.Millisecond,
		Heap: func() int64 { return 5 << 20 }, Now: func() time.Time { return time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Service = s
	return b
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
	for _, mib := range []int{50, 81, 85, 78, 96, 91, 60} {
		b.rss(mib)
		b.step()
		b.flush() // what is said with a reading is on record before the next
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
			if n, err := testutil.GatherAndCount(reg); err != nil || n != 2 {
				t.Errorf("%d gauges, %v; want the limit and the baseline", n, err)
			}
		})
	}
	b.rss(50)
	b.step()
	if m, err := b.answer(t.Context(), bus.MemoryQuery{}); err != nil || m.RSS != 50<<20 || m.Pressure != bus.PressureNormal || len(b.health()) > 0 {
		t.Errorf("%+v, %v, %v", m, err, b.health())
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
# HELP blufio_memory_heap_bytes Bytes of objects on the Go heap, live and not yet swept.
# TYPE blufio_memory_heap_bytes gauge
blufio_memory_heap_bytes 5.24288e+06
# HELP blufio_memory_limit_bytes What the resident set is held against: the configured limit or the control group's.
# TYPE blufio_memory_limit_bytes gauge
blufio_memory_limit_bytes 1.048576e+08
# HELP blufio_memory_pressure Memory pressure level: 0 normal, 1 warn, 2 critical.
# TYPE blufio_memory_pressure gauge
blufio_memory_pressure 1
# HELP blufio_memory_rss_bytes Resident set of the process; absent when it cannot be read.
# TYPE blufio_memory_rss_bytes gauge
blufio_memory_rss_bytes 8.4934656e+07
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
	if want := (bus.Memory{Heap: 5 << 20, RSS: 10 << 20, Limit: 100 << 20, Pressure: bus.PressureNormal}); err != nil || m != want {
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
