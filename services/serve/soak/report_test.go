// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// A verdict names what was missed, and nothing else.
func TestReportVerdict(t *testing.T) {
	r := &run{work: work{name: "governed"}, options: options{limitMB: 128}, daemon: &daemon{}, book: &book{}, sampler: &sampler{}}
	rep := &report{options: r.options, runs: []*run{r}}
	if err := rep.verdict(); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
	r.book.accepted.Store(1)
	r.kept = kept{lost: 1, examples: []string{"m-77"}}
	r.recovered = []time.Duration{time.Second, unknown}
	r.daemon.deaths = []string{"12:00:00: signal: killed"}
	err := rep.verdict()
	if err == nil {
		t.Fatal("a loss, a death and no recovery are fine")
	}
	for _, want := range []string{"m-77", "signal: killed", "of round 2", "1; 0, not 0; 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "of round 1") {
		t.Errorf("round 1 was held: %v", err)
	}
}

// What a run of full length could not judge fails it; a try says that it was one.
func TestReportNotJudged(t *testing.T) {
	steadily := stretch(nil, steady, 60, flat(50), 50) // too short for a slope
	calmly := levelsOf(time.Minute, 0, 0)              // swing, and no level is left
	hand := []phase{{steady, time.Hour}}
	for _, tc := range []struct {
		name string
		options
		all  []sample
		want string // in the error
		row  verdict
	}{
		{"half an hour", options{total: round}, steadily, "only 0 minima: too short to judge", noProof},
		{"half an hour of swing", options{total: round}, calmly, string(noCross), noCross},
		{"a try", options{total: round / 2}, steadily, "", aTry},
		{"few turns", options{turns: 1000}, steadily, "", aTry},
		{"by hand, for an hour", options{byHand: hand}, steadily, "", noProof},
	} {
		r := &run{options: tc.options, work: work{name: "governed"}, daemon: &daemon{}, book: &book{}, sampler: &sampler{samples: tc.all}}
		rep := &report{options: tc.options, runs: []*run{r}}
		if err := rep.verdict(); tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if !slices.Contains(verdictsOf(r.rows()), tc.row) {
			t.Errorf("%s: %+v, want one %q", tc.name, r.rows(), tc.row)
		}
	}
}

// What one part has shown is printed and kept, whatever becomes of a later one.
func TestTellWhatThereIs(t *testing.T) {
	t.Chdir(t.TempDir())
	const file = "BENCHMARKS.md"
	if err := os.WriteFile(file, []byte("# Benchmarks\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rep := &report{options: options{total: round, write: true}}
	var out strings.Builder
	err := rep.tell([]work{{name: "one"}, {name: "two"}, {name: "three"}}, func(w work) error {
		if w.name != "one" {
			return errors.New("the disk is full")
		}
		rep.runs = append(rep.runs, &run{work: w, daemon: &daemon{}, book: &book{}, sampler: &sampler{}, kept: kept{lost: 1}})
		return nil
	}, &out)
	written, unread := os.ReadFile(file)
	if unread != nil {
		t.Fatal(unread)
	}
	for where, text := range map[string]string{"print": out.String(), file: string(written)} {
		if !strings.Contains(text, "## Memory, one,") || strings.Contains(text, "## Memory, two,") {
			t.Errorf("%s: %q", where, text)
		}
	}
	if err == nil || !strings.Contains(err.Error(), "two: the disk is full") || !strings.Contains(err.Error(), "one: accepted and lost") || strings.Contains(err.Error(), "three") {
		t.Errorf("it ends with %v", err)
	}
}

// Of a load that nobody disturbs a turn that fails is the daemon's doing, or its client's:
// more than one of a thousand is too many.
func TestFailedTurns(t *testing.T) {
	const what = "turns that failed"
	attacked := []phase{{steady, time.Minute}, {hostile, time.Minute}}
	for _, tc := range []struct {
		name     string
		phases   []phase
		states   map[string]int64
		accepted int64
		want     []verdict
	}{
		{"none", nil, map[string]int64{bus.StateAnswered: 1000}, 1000, []verdict{held}},
		{"some, once seen", nil, map[string]int64{bus.StateAnswered: 1_999_987, bus.StateFailed: 13}, 2_000_000, []verdict{held}},
		{"each", nil, map[string]int64{bus.StateFailed: 1000}, 1000, []verdict{missed}},
		{"two of a thousand, one of them given up", nil, map[string]int64{bus.StateAnswered: 998, bus.StateFailed: 1, bus.StateDead: 1}, 1000, []verdict{missed}},
		{"under attack", attacked, map[string]int64{bus.StateFailed: 1000}, 1000, nil},
		{"nobody looked", nil, nil, 1000, nil},
	} {
		r := &run{work: work{phases: tc.phases}, daemon: &daemon{}, book: &book{}, kept: kept{states: tc.states}}
		r.book.accepted.Store(tc.accepted)
		rows := slices.DeleteFunc(r.keptRows(nil), func(w row) bool { return !strings.HasPrefix(w.what, what) })
		if got := verdictsOf(rows); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Each message is lost, has its end or has none: of whatever else nobody looked.
func TestEveryMessageIsAccountedFor(t *testing.T) {
	for want, k := range map[verdict]kept{
		held:   {states: map[string]int64{bus.StateAnswered: 8, bus.StateFailed: 1, bus.StateDead: 1}},
		missed: {states: map[string]int64{bus.StateAnswered: 8, bus.StateFailed: 1}},
	} {
		r := &run{daemon: &daemon{}, book: &book{}, kept: k}
		r.book.accepted.Store(10)
		rows := r.keptRows(nil)
		if got := rows[len(rows)-1]; got.verdict != want || want == missed && got.measured != "0; 0; 1 not looked up" {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}

// The daemon's log is kept where it has to tell something: why a turn failed of a load
// that nobody disturbed, or why a run did not end as it should.
func TestLogIsKept(t *testing.T) {
	some := map[string]int64{bus.StateAnswered: 1_999_987, bus.StateFailed: 13}
	for _, tc := range []struct {
		name   string
		phases []phase
		states map[string]int64
		broken bool
		want   bool
	}{
		{"all is well", nil, map[string]int64{bus.StateAnswered: 2_000_000}, false, false},
		{"some turns failed", nil, some, false, true},
		{"some turns failed under attack", []phase{{hostile, time.Minute}}, some, false, false},
		{"it ended in between", []phase{{hostile, time.Minute}}, some, true, true},
	} {
		dir := t.TempDir()
		rep := &report{options: options{out: dir, report: t.Logf}}
		r := &run{options: rep.options, work: work{name: "it", phases: tc.phases}, daemon: &daemon{log: filepath.Join(dir, "daemon.log")}, book: &book{}, sampler: &sampler{},
			kept: kept{states: tc.states}, broken: tc.broken}
		r.book.accepted.Store(2_000_000)
		if err := os.WriteFile(r.daemon.log, []byte("no model\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := rep.keep(r); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, rep.name(r)+".log")); (err == nil) != tc.want {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
