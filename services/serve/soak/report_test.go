// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
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
