// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
)

// What recall costs, the whole way with the real binary and little of everything. Of time and memory only that they
// were measured is looked at: this is too little, on a machine that does other things.
func TestRecallSmoke(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("only Linux has /proc")
	}
	tmp := t.TempDir()
	r := newRun(t.Context(), tmp)
	r.sizes = sizes{shape: modeltest.Spec{Width: 384, Heads: 4, Layers: 1, Inner: 64, Vocab: 1000}, facts: 150, few: 5, searches: 12, turns: 5, talks: 2, rounds: 3}
	if err := r.build(); err != nil {
		t.Fatal(err)
	}
	r.box = place{name: "here"}
	for _, take := range []func() error{r.embedders, r.recalling, r.shedding} {
		if err := take(); err != nil {
			log, _ := os.ReadFile(filepath.Join(tmp, "daemon.log"))
			t.Fatalf("%v\n%s", err, log)
		}
	}
	t.Log(r.report.table())
	values := map[string]row{}
	for _, w := range r.report.rows {
		values[w.what] = w
		if len(w.samples) == 0 {
			t.Errorf("%s: no samples", w.what)
		}
	}
	for what, least := range map[string]float64{
		"sentence model, int8: a text of 16 tokens, p50":                             0.001,
		"embedder without a model: a sentence, p50":                                  0.001,
		"150 facts, no model: recall.search over the bus, p50":                       0.001,
		"the same turn with recall.enable = false, p50":                              0.001,
		"shedding: RSS with 150 facts, a sentence model fp32 and full caches":        1,
		"shedding: RSS after the governor had them shed":                             1,
		"shedding: freed, as recall says":                                            150 * 384 / mb,
		"shedding: freed, as the agent says":                                         2 * summaryBytes * 0.9 / mb,
		"shedding: freed of the database's caches, in the pauses before it and then": 0.1,
		"shedding: from there until all vectors are in memory again":                 0.001,
		"shedding: searches from then on, p50":                                       0.001,
	} {
		if values[what].value < least {
			t.Errorf("%s: %v, not %v", what, values[what].value, least)
		}
	}
}

// Every part can be asked for, by its own name or its group's, and nothing else.
func TestOnly(t *testing.T) {
	r := newRun(t.Context(), t.TempDir())
	for only, want := range map[string]string{"recall": "embedders recalling shedding vectors", "vectors": "vectors", "idle": "idle", "none": ""} {
		var got []string
		for _, p := range r.parts() {
			if p.asked(only) {
				got = append(got, p.name)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q takes %s", only, s)
		}
	}
	if err := bench(0, 0, "nonsense", false); err == nil || !strings.Contains(err.Error(), "recall") {
		t.Errorf("%v", err)
	}
}
