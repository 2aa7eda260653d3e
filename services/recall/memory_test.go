// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/recall/embed/static"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func (r *rig) metric(m prometheus.Metric) float64 {
	r.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		r.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// Under pressure the vectors in memory go, and come back when they are needed; when memory is critically short not at once.
func TestShed(t *testing.T) {
	r := newRig(t, nil)
	for i := range 50 {
		r.keep(id(i), "The wardrobe has a drawer "+id(i))
	}
	r.settle()
	r.find("wardrobe")
	if r.cache.size() != 0 {
		t.Error("vectors of questions are remembered, which are made as fast")
	}
	r.cache.put("a model", "a question", make([]float32, 8))
	before := r.state()
	if before.Indexed != 50 || before.IndexBytes == 0 || r.cache.size() == 0 {
		t.Fatalf("%+v", before)
	}
	shed := func(level string) int64 {
		freed, err := r.shed(t.Context(), bus.Shed{Pressure: level})
		if err != nil {
			t.Fatal(err)
		}
		return freed.Bytes
	}
	if freed := shed(bus.PressureNormal); freed != 0 {
		t.Errorf("in a pause %d bytes went", freed)
	}
	if freed := shed(bus.PressureWarn); freed < before.IndexBytes {
		t.Errorf("%d bytes went, of %d", freed, before.IndexBytes)
	}
	if st := r.state(); st.Indexed != 0 || r.cache.size() != 0 {
		t.Errorf("%+v", st)
	}
	if hits := r.find("wardrobes"); len(hits) == 0 || r.state().Indexed != 50 {
		t.Errorf("%d hits, %+v", len(hits), r.state())
	}
	shed(bus.PressureCritical)
	if hits := r.find("wardrobe"); len(hits) == 0 || hits[0].By != bus.RecallByWords || r.state().Indexed != 0 {
		t.Errorf("%+v, %+v", hits, r.state())
	}
	r.clock.add(critically)
	if hits := r.find("wardrobe"); len(hits) == 0 || hits[0].By != bus.RecallByBoth {
		t.Errorf("%+v", hits)
	}
}

// brittle is an embedder that cannot give up what it holds.
type brittle struct{ embedder }

func (brittle) Shed() (int64, error) { return 7, errors.New("not now") }

// What an embedder cannot give up does not hide what has gone already.
func TestShedTellsWhatWent(t *testing.T) {
	r := newRig(t, nil)
	r.keep("a", "The wardrobe has a drawer")
	r.settle()
	r.find("wardrobe")
	e := *r.engine.get()
	e.embedder = brittle{e.embedder}
	r.engine.set(&e)
	want := r.state().IndexBytes + 7
	if freed, err := r.shed(t.Context(), bus.Shed{Pressure: bus.PressureWarn}); err != nil || freed.Bytes != want || want <= 7 {
		t.Errorf("%d bytes went, of %d: %v", freed.Bytes, want, err)
	}
}

// Vectors that find no room are told, and their facts are found by words.
func TestIndexFull(t *testing.T) {
	r := newRig(t, nil)
	r.shelf.max = 20_000
	r.shelf.begin(static.Name, static.Dim)
	for i := range 200 {
		r.keep(id(i), fmt.Sprintf("Number %d is a number of its own kind, %d", i, i*i))
	}
	r.settle()
	r.find("number")
	st := r.state()
	if st.IndexBytes > st.IndexLimit || st.Indexed >= 200 || st.Indexed == 0 {
		t.Errorf("%+v", st)
	}
	if p := r.health(); len(p) != 1 || p[0].Code != "index_full" {
		t.Errorf("%+v", p)
	}
	if p := r.probe("BLF-RCL-002"); p.Level != bus.LevelWarn {
		t.Errorf("%+v", p)
	}
	if hits := r.find("39601"); len(hits) == 0 || hits[0].ID != "fact-199" || hits[0].By != bus.RecallByWords {
		t.Errorf("%+v", hits)
	}
}

func TestQuestionCacheIsBounded(t *testing.T) {
	c := newCache(10 * (entryBytes + 4*8))
	v := make([]float32, 8)
	for i := range 100 {
		c.put("e", fmt.Sprint(i), v)
		if c.get("e", "0") == nil {
			t.Fatalf("what is used went, after %d", i)
		}
	}
	if c.size() > c.max || len(c.byKey) != 10 || c.get("e", "50") != nil || c.get("e", "99") == nil || c.get("other", "99") != nil {
		t.Errorf("%d bytes of %d, %d entries", c.size(), c.max, len(c.byKey))
	}
	if c.put("e", "large", make([]float32, 10_000)); c.get("e", "large") != nil {
		t.Error("an entry larger than the cache is kept")
	}
	if freed := c.reset(); freed == 0 || c.size() != 0 {
		t.Errorf("%d bytes went, %d left", freed, c.size())
	}
}

func TestRank(t *testing.T) {
	c := Defaults()
	at := func(n int64, words, near int, importance float64, age time.Duration) candidate {
		x := candidate{words: words, near: near}
		x.n, x.Importance, x.At, x.Text = n, importance, noon.Add(-age), fmt.Sprint("text ", n)
		return x
	}
	order := func(all ...candidate) (out []int64) {
		c.rank(all, noon)
		for _, x := range all {
			out = append(out, x.n)
		}
		return out
	}
	year := 365 * 24 * time.Hour
	for what, tt := range map[string]struct{ got, want []int64 }{
		"both ways before one": {order(at(1, 1, 0, 0, 0), at(2, 2, 2, 0, 0)), []int64{2, 1}},
		"important first":      {order(at(1, 1, 0, 0, 0), at(2, 2, 0, 1, 0)), []int64{2, 1}},
		"young first":          {order(at(1, 1, 0, 0, 2*year), at(2, 2, 0, 0, 0)), []int64{2, 1}},
		"age has an end":       {order(at(1, 1, 1, 1, 90*year), at(2, 30, 0, 0, 0)), []int64{1, 2}},
	} {
		if fmt.Sprint(tt.got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %v", what, tt.got)
		}
	}
	c.DecayHalfLife, c.ImportanceWeight = 0, 0
	if got := order(at(1, 1, 0, 0, 2*year), at(2, 2, 0, 1, 0)); got[0] != 1 {
		t.Errorf("weights of 0 count: %v", got)
	}
}

// Of three facts two of which say the same, both things are told before the second time.
func TestDiversity(t *testing.T) {
	make := func() []candidate {
		all := []candidate{{score: 1, vector: []float32{1, 0}}, {score: 0.95, vector: []float32{1, 0}}, {score: 0.8, vector: []float32{0, 1}}}
		for i := range all {
			all[i].n, all[i].Text = int64(i), "x"
		}
		return all
	}
	for diversity, want := range map[float64]int64{0: 1, 0.3: 2} {
		c := Config{Diversity: diversity}
		if got := c.pick(make(), 2, 0); len(got) != 2 || got[1].n != want {
			t.Errorf("diversity %v: %+v", diversity, got)
		}
	}
}
