// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

// pass lets time pass with a reading a minute, and stores what has become full.
func (b *bench) pass(d time.Duration) {
	b.t.Helper()
	for range d / time.Minute {
		b.step()
		b.later(time.Minute)
		select {
		case h := <-b.full:
			if err := b.Service.store(b.t.Context(), h); err != nil {
				b.t.Fatal(err)
			}
		default:
		}
	}
	b.count(b.t.Context())
}

func (b *bench) on(weight int64) []hour {
	b.t.Helper()
	all, err := b.history(b.t.Context(), weight)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func TestAnHourIsOneRow(t *testing.T) {
	b := newBench(t)
	b.rss(1)
	b.pass(61 * time.Minute) // the first one is not kept
	if n := len(b.on(0)); n > 0 {
		t.Fatalf("%d hours after the first", n)
	}
	for _, mib := range []int{30, 20, 50, 40} {
		b.rss(mib)
		b.pass(15 * time.Minute)
	}
	all := b.on(0)
	if len(all) != 1 {
		t.Fatalf("%d hours", len(all))
	}
	want := span{20 << 20, 40 << 20, 50 << 20}
	if h := all[0]; h.rss.most != want.most || h.rss.middle < 30<<20 || h.rss.middle > want.middle || h.own != h.rss || h.heap != (span{5 << 20, 5 << 20, 5 << 20}) {
		t.Errorf("%+v", h)
	}
	if n := b.kept.Load(); n != 1 {
		t.Errorf("the gauge says %d", n)
	}
}

// An hour in which little was read, as while the machine slept, says little; neither
// does one in which a model was loaded.
func TestHoursThatAreNone(t *testing.T) {
	b := newBench(t)
	weight := int64(0)
	b.deps.Baseline = func() (all, anonymous int64) { return weight, 0 }
	b.pass(61 * time.Minute)
	b.pass(20 * time.Minute)
	b.later(2 * time.Hour)
	b.pass(time.Minute)
	b.pass(30 * time.Minute)
	weight = 1 << 20
	b.pass(30 * time.Minute)
	if n := b.kept.Load(); n > 0 {
		t.Errorf("%d hours", n)
	}
	b.pass(time.Hour)
	if all := b.on(weight); len(all) != 1 || all[0].own.least != 9<<20 {
		t.Errorf("%+v", all)
	}
}

// What the process holds of its own is all that no file backs, but for that part of a
// model: its file hides no growth.
func TestOwnBesideAModel(t *testing.T) {
	b := newBench(t)
	b.deps.Baseline = func() (all, anonymous int64) { return 48 << 20, 2 << 20 }
	b.rss(80)
	for anon, want := range map[int]int64{32: 30, 40: 38, 1: 0} {
		b.set(statusFile, fmt.Sprintf("RssAnon: %d kB\n", anon<<10))
		b.step()
		if got := b.last(); got.own() != want<<20 {
			t.Errorf("of %d MiB anonymous %d are its own, want %d", anon, got.own()>>20, want)
		}
	}
	b.set(statusFile)
	b.sensors.status.close()
	b.step()
	if got := b.last(); got.own() != 32<<20 {
		t.Errorf("where the kernel does not tell, %d MiB", got.own()>>20)
	}
}

// What is kept has a bound in number and in age.
func TestHistoryIsBounded(t *testing.T) {
	b := newBench(t)
	start := b.now().Add(-100 * 24 * time.Hour)
	for i := range 3 {
		if err := b.Service.store(t.Context(), hour{at: start.Add(time.Duration(i) * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxHours + 10 {
		if err := b.Service.store(t.Context(), hour{at: b.now().Add(time.Duration(i) * time.Hour / 2)}); err != nil {
			t.Fatal(err)
		}
	}
	all := b.on(0)
	if len(all) != maxHours || all[len(all)-1].at.Before(b.now()) {
		t.Errorf("%d hours, from %s", len(all), all[len(all)-1].at)
	}
}

// The history outlives the process, and a stored hour is counted by the room that runs.
func TestHistoryIsRestored(t *testing.T) {
	b := newBench(t)
	h := hour{at: b.now().Truncate(time.Millisecond).Local(), rss: span{1, 2, 3}, own: span{1, 1, 2}, heap: span{4, 5, 6}, weight: 7}
	b.Service.full <- h
	house := bustest.New(t)
	stop := roomtest.Start(t, house, b)
	for b.kept.Load() == 0 && t.Context().Err() == nil {
		b.flush()
	}
	stop()
	if all := b.on(7); len(all) != 1 || all[0] != h {
		t.Errorf("%+v, want %+v", all, h)
	}
	again, err := New(b.cfg, b.deps)
	if err != nil {
		t.Fatal(err)
	}
	if again.count(t.Context()); again.kept.Load() != 1 {
		t.Errorf("%d hours after a restart", again.kept.Load())
	}
}

// The readings do not wait for a database that does not take the hours.
func TestHoursDoNotHoldUpReadings(t *testing.T) {
	b := newBench(t)
	for range 5 * 60 {
		b.step()
		b.later(time.Minute)
	}
	if n := len(b.full); n != 1 {
		t.Errorf("%d hours wait", n)
	}
}

func TestGrowth(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		hours   int               // on record
		own     func(i int) int64 // by hours ago
		current int64
		version string
		weight  int64
		level   string
	}{
		"a leak":                 {hours: 5 * 24, own: func(i int) int64 { return int64(120-i) * mib / 2 }, current: 70, level: bus.LevelWarn},
		"none":                   {hours: 5 * 24, own: func(int) int64 { return 30 * mib }, current: 31, level: bus.LevelOK},
		"one quiet hour":         {hours: 5 * 24, own: func(i int) int64 { return int64(map[bool]int{true: 30, false: 90}[i == 7 || i > 20]) * mib }, current: 90, level: bus.LevelOK},
		"started again":          {hours: 5 * 24, own: func(i int) int64 { return int64(120-i) * mib / 2 }, current: 10, level: bus.LevelOK},
		"much of little":         {hours: 5 * 24, own: func(i int) int64 { return int64(map[bool]int{true: 20, false: 9}[i < 24]) * mib }, current: 20, level: bus.LevelOK},
		"little of much":         {hours: 5 * 24, own: func(i int) int64 { return int64(map[bool]int{true: 120, false: 100}[i < 24]) * mib }, current: 120, level: bus.LevelOK},
		"a quiet first hour":     {hours: 48, own: func(i int) int64 { return int64(map[bool]int{true: 10, false: 60}[i == 47]) * mib }, current: 60, level: bus.LevelOK},
		"one day":                {hours: 24, own: func(i int) int64 { return int64(120-i) * mib / 2 }, current: 70, level: bus.LevelSkip},
		"a day and a quarter":    {hours: 31, own: func(i int) int64 { return int64(map[bool]int{true: 90, false: 30}[i < 12]) * mib }, current: 90, level: bus.LevelWarn},
		"of another version":     {hours: 5 * 24, own: func(i int) int64 { return int64(120-i) * mib / 2 }, current: 70, version: "2", level: bus.LevelSkip},
		"with another model":     {hours: 5 * 24, own: func(i int) int64 { return int64(120-i) * mib / 2 }, current: 70, weight: 1, level: bus.LevelSkip},
		"nothing":                {current: 70, own: func(int) int64 { return 0 }, level: bus.LevelSkip},
		"half a day, and a hole": {hours: 11, own: func(int) int64 { return 30 * mib }, current: 70, level: bus.LevelSkip},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.deps.Version = "1"
			if err := b.deps.Store.Write(t.Context(), func(tx *sqlite.Tx) error {
				for i := range c.hours {
					if _, err := tx.Exec(`INSERT INTO memory_hour VALUES (?, '1', 0, 0, 0, 0, ?, 0, 0, 0, 0, 0)`,
						b.now().Add(-time.Duration(i)*time.Hour-time.Minute).UnixMilli(), c.own(i)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if c.version != "" {
				b.deps.Version = c.version
			}
			b.Service.reading = reading{Memory: bus.Memory{RSS: (c.current + c.weight) * mib, Baseline: c.weight * mib}}
			if r := b.probeGrowth(t.Context()); r.Level != c.level {
				t.Errorf("%+v", r)
			}
		})
	}
	b := newBench(t)
	wants(t, b.probeGrowth(t.Context()), bus.LevelSkip, "BLF-SYS-002")
}
