// SPDX-License-Identifier: MIT OR Apache-2.0

package services

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func probe(id string, run func(context.Context) Result) Probe {
	return Probe{ID: id, Title: "t", Why: "w", Fix: "f", Run: run}
}

func examined(t *testing.T, x *Examiner, e Exam, probes ...Probe) map[string]bus.Finding {
	t.Helper()
	found := map[string]bus.Finding{}
	x.Run(t.Context(), probes, e, func(f bus.Finding) {
		if _, twice := found[f.ID]; twice {
			t.Errorf("%s is told twice", f.ID)
		}
		found[f.ID] = f
	})
	return found
}

func TestExaminer(t *testing.T) {
	never := make(chan struct{})
	var x Examiner
	found := examined(t, &x, Exam{},
		probe("BLF-DB-001", func(context.Context) Result { return OK("fine") }),
		probe("BLF-DB-002", func(context.Context) Result { return Fail("broken").WithFix("mend it") }),
		probe("BLF-DB-003", func(context.Context) Result { panic("oh") }),
		probe("BLF-DB-004", func(context.Context) Result { return Result{} }),
		Probe{ID: "BLF-DB-005", Timeout: time.Millisecond, Run: func(context.Context) Result { <-never; return OK("late") }},
		Probe{ID: "BLF-DB-006", Timeout: time.Millisecond, Run: func(ctx context.Context) Result { <-ctx.Done(); return Warn("in its own words") }},
		probe("BLF-DB-007", func(context.Context) Result { return OK("%s", strings.Repeat("x", 10_000)) }),
		Probe{ID: "BLF-DB-008", Deep: true, Run: func(context.Context) Result { return OK("deep") }},
	)
	for id, want := range map[string]bus.Finding{
		"BLF-DB-001": {Level: bus.LevelOK, Seen: "fine", Fix: "f"},
		"BLF-DB-002": {Level: bus.LevelFail, Seen: "broken", Fix: "mend it"},
		"BLF-DB-003": {Level: bus.LevelFail, Seen: "the check itself failed: panic: oh", Fix: "defect"},
		"BLF-DB-004": {Level: bus.LevelFail, Seen: "the check said nothing", Fix: "defect"},
		"BLF-DB-005": {Level: bus.LevelFail, Seen: "did not finish within 1ms"},
		"BLF-DB-006": {Level: bus.LevelWarn, Seen: "in its own words"},
	} {
		if f := found[id]; f.Level != want.Level || !strings.Contains(f.Seen, want.Seen) || !strings.Contains(f.Fix, want.Fix) || f.Ref != "DOCTOR.md#"+strings.ToLower(id) {
			t.Errorf("%s: %+v", id, f)
		}
	}
	if n := len(found["BLF-DB-007"].Seen); n > maxSeen+3 || found["BLF-DB-007"].TimeoutMS != QuickProbe.Milliseconds() {
		t.Errorf("%d bytes, timeout %d", n, found["BLF-DB-007"].TimeoutMS)
	}
	if _, deep := found["BLF-DB-008"]; deep {
		t.Error("a deep probe was run unasked")
	}

	// One that has not ended is not begun again.
	stuck := Probe{ID: "BLF-DB-005", Run: func(context.Context) Result { return OK("again") }}
	if f := examined(t, &x, Exam{}, stuck)["BLF-DB-005"]; f.Level != bus.LevelFail || !strings.Contains(f.Seen, "has not ended yet") {
		t.Errorf("%+v", f)
	}
	close(never)
	x.Wait()
	if f := examined(t, &x, Exam{}, stuck)["BLF-DB-005"]; f.Level != bus.LevelOK {
		t.Errorf("%+v", f)
	}
}

func TestExamWants(t *testing.T) {
	quick, deep := Probe{ID: "BLF-DB-001"}, Probe{ID: "BLF-DB-002", Deep: true}
	for _, c := range []struct {
		exam        Exam
		quick, deep bool
	}{
		{Exam{}, true, false},
		{Exam{Deep: true}, true, true},
		{Exam{Only: []string{"blf-db-002"}}, false, true},
		{Exam{Deep: true, Only: []string{"BLF-DB-001"}}, true, false},
		{Exam{Deep: true, Skip: []string{"BLF-DB-001"}}, false, true},
		{Exam{Only: []string{"BLF-DB-001"}, Skip: []string{"BLF-DB-001"}}, false, false},
	} {
		if c.exam.Wants(quick) != c.quick || c.exam.Wants(deep) != c.deep {
			t.Errorf("%+v: quick %v, deep %v", c.exam, c.exam.Wants(quick), c.exam.Wants(deep))
		}
	}
}

func TestProbesAtOnce(t *testing.T) {
	var running, most atomic.Int64
	full := make(chan struct{})
	var probes []Probe
	for i := range 3 * probesAtOnce {
		probes = append(probes, probe(fmt.Sprintf("BLF-DB-%03d", i), func(ctx context.Context) Result {
			n := running.Add(1)
			defer running.Add(-1)
			most.Store(max(most.Load(), n))
			if n == probesAtOnce {
				close(full)
			}
			if i < probesAtOnce {
				<-full // all that may run side by side do
			}
			return OK("ran")
		}))
	}
	if found := examined(t, new(Examiner), Exam{Timeout: 20 * time.Second}, probes...); len(found) != len(probes) || most.Load() != probesAtOnce {
		t.Errorf("%d found, %d at once", len(found), most.Load())
	}
}

func TestTableOrder(t *testing.T) {
	ids := []string{"BLF-XX-001", "BLF-SYS-001", "BLF-DB-002", "BLF-CFG-001", "BLF-DB-001", "odd"}
	slices.SortFunc(ids, CompareIDs)
	if want := []string{"BLF-CFG-001", "BLF-DB-001", "BLF-DB-002", "BLF-SYS-001", "BLF-XX-001", "odd"}; !slices.Equal(ids, want) {
		t.Errorf("%v", ids)
	}
}
