// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services"
	"github.com/blufio/blufio/services/recall/embed/static"
)

// probe makes one check of doctor's.
func (r *rig) probe(id string) services.Result {
	r.Helper()
	for _, p := range Probes(r.Service) {
		if p.ID == id {
			return p.Run(r.Context())
		}
	}
	r.Fatalf("there is no %s", id)
	return services.Result{}
}

// model copies a small model.
func model(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("embed/bert/testdata/float32")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Another embedder has every vector made anew, in the background, and goes on after a restart in the middle.
func TestAnotherEmbedder(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MergeSimilarity = 1 })
	for i := range 40 {
		r.keep(id(i), "Fact about "+id(i))
	}
	r.settle()
	if st := r.state(); st.Kind != bus.RecallBuiltIn || st.Embedder != static.Name {
		t.Fatalf("%+v", st)
	}
	if p := r.probe("BLF-RCL-003"); p.Level != bus.LevelSkip {
		t.Errorf("%+v", p)
	}
	dir := model(t)
	r.restart(func(c *Config) { c.ModelDir = dir })
	r.until("some vectors are made", func() bool {
		return r.number(`SELECT count(*) FROM recall_vector WHERE embedder <> ?`, static.Name) > 0
	})
	r.restart(nil)
	r.settle()
	st := r.state()
	if st.Kind != bus.RecallLocal || st.Pending != 0 || r.number(`SELECT count(*) FROM recall_vector WHERE embedder = ?`, st.Embedder) != 40 {
		t.Errorf("%+v", st)
	}
	if made := r.metric(r.meter.embedded); made >= 40 {
		t.Errorf("after the restart %v were made again", made)
	}
	if hits := r.find("Fact about fact-7"); len(hits) == 0 || hits[0].By == "" {
		t.Errorf("%+v", hits)
	}
	if all, anonymous := r.Baseline(); all <= 0 || all%(baselineMB<<20) != 0 || anonymous <= 0 || anonymous >= all {
		t.Errorf("its weight is told as %d, %d of it without a file", all, anonymous)
	}
	for _, id := range []string{"BLF-RCL-001", "BLF-RCL-002", "BLF-RCL-003"} {
		if p := r.probe(id); p.Level != bus.LevelOK {
			t.Errorf("%s: %+v", id, p)
		}
	}
}

// A model that is broken leaves a daemon that searches by words, and says so; mended, it is used without a restart.
func TestBrokenModel(t *testing.T) {
	dir := model(t)
	whole, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.ModelDir = dir })
	r.keep("1", "The key hangs behind the door.")
	r.until("it says what is wrong", func() bool { return r.state().Problem != "" })
	if hits := r.find("key"); len(hits) != 1 || hits[0].By != bus.RecallByWords {
		t.Errorf("%+v", hits)
	}
	if st := r.state(); st.Kind != bus.RecallNone || st.Embedder != "" || st.Pending != 1 {
		t.Errorf("%+v", st)
	}
	if p := r.health(); len(p) != 1 || p[0].Code != "embedder_failed" || !strings.Contains(p[0].Title, dir) {
		t.Errorf("%+v", p)
	}
	if a, b := r.probe("BLF-RCL-001"), r.probe("BLF-RCL-003"); a.Level != bus.LevelWarn || b.Level != bus.LevelFail {
		t.Errorf("%+v, %+v", a, b)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until("it is used", func() bool { return r.state().Kind == bus.RecallLocal })
	r.settle()
	if len(r.health()) != 0 {
		t.Errorf("%+v", r.health())
	}
}

// A server that refuses one text holds up none of the others; one that fails is asked again.
func TestServer(t *testing.T) {
	var failing atomic.Bool
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		calls.Add(1)
		var in struct{ Input []string }
		if err := json.NewDecoder(q.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		type datum struct {
			Index     int       `json:"index"`
			Embedding []float32 `json:"embedding"`
		}
		var data []datum
		for i, text := range in.Input {
			if failing.Load() {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			if strings.Contains(text, "refused") {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error": {"message": "no such text"}}`))
				return
			}
			data = append(data, datum{i, []float32{float32(len(text)), 2, 3, 4}})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": data, "model": "m", "usage": map[string]int{"prompt_tokens": 1}})
	}))
	t.Cleanup(server.Close)
	failing.Store(true)
	r := newRig(t, func(c *Config) { c.Server.BaseURL, c.Server.Model, c.MergeSimilarity = server.URL, "m", 1 })
	r.keep("1", "One thing.")
	r.until("the failure is told", func() bool { return r.state().Problem != "" })
	failing.Store(false)
	r.keep("2", "A text that is refused.")
	r.keep("3", "Another thing, and a longer one.")
	r.until("the server is used", func() bool { return r.state().Kind == bus.RecallServer })
	r.settle()
	if n := r.number(`SELECT count(*) FROM recall_vector WHERE length(vector) > 0`); n != 2 {
		t.Errorf("%d vectors", n)
	}
	if len(r.health()) != 0 {
		t.Errorf("%+v", r.health())
	}
	r.until("the question's vector is kept", func() bool { r.find("thing"); return r.cache.size() > 0 }) // it may come too late at first
	before := calls.Load()
	if r.find("thing"); calls.Load() != before {
		t.Error("the server is asked again about the same question")
	}
	failing.Store(true)
	r.keep("4", "While it is down.")
	r.until("it is a problem", func() bool { return len(r.health()) == 1 })
	if hits := r.find("down"); len(hits) != 1 || hits[0].ID != "4" {
		t.Errorf("%+v", hits)
	}
	failing.Store(false)
	r.settle()
	r.until("it is none any more", func() bool { return len(r.health()) == 0 })
}

// While no vectors can be made, no more of them are said to be missing than there may
// be facts: those that went meanwhile are none.
func TestPendingVectorsAreBounded(t *testing.T) {
	var failing atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if failing.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write([]byte(`{"object": "list", "data": [{"index": 0, "embedding": [1, 2, 3, 4]}], "model": "m", "usage": {"prompt_tokens": 1}}`))
	}))
	t.Cleanup(server.Close)
	r := newRig(t, func(c *Config) {
		c.Server.BaseURL, c.Server.Model, c.MaxEntries = server.URL, "m", 10
	})
	r.until("the server is used", func() bool { return r.state().Kind == bus.RecallServer })
	failing.Store(true)
	for i := range 40 {
		r.keep(id(i), "This is fact "+id(i))
		if n := r.lacking(); n > 10 {
			t.Fatalf("%d vectors are missing of at most 10 facts", n)
		}
	}
	r.until("they are counted anew", func() bool { return r.pending.Load() == int64(r.number(`SELECT entries FROM recall_state`)) })
}
