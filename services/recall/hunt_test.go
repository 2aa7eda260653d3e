// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/recall/index"
)

// That facts were found again and again leaves no copies of them in the file.
func TestForgettingIsRealOfWhatWasFound(t *testing.T) {
	r := newRig(t, nil)
	words := []string{"Wurzelwerk", "Quarzstein", "Xylophon", "Zirbelholz", "Pfauenauge", "Dromedar", "Kastanien", "Gletscher"}
	var ids []string
	for i, w := range words {
		for j := range 10 {
			r.keep(id(10*i+j), "Something else about zebrafish number "+id(10*i+j))
		}
		r.keep(w, "The key number "+id(i)+" is hidden behind "+w)
		ids = append(ids, w)
	}
	r.settle()
	for n := 1; n <= 3; n++ {
		for _, w := range words {
			r.find("Where is the " + w + "?")
			r.until("it is counted", func() bool { return r.number(`SELECT found FROM recall_entry WHERE id = ?`, w) >= n })
		}
	}
	if _, err := bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{Owner: "terminal:owner", IDs: ids}); err != nil {
		t.Fatal(err)
	}
	r.until("the files have nothing of it", func() bool {
		all := r.files()
		return !slices.ContainsFunc(words, func(w string) bool { return bytes.Contains(all, []byte("behind "+w)) })
	})
}

// embeddings is a server whose vectors are made by answer, or refused with a status.
func embeddings(t *testing.T, answer func(ctx context.Context, texts []string) ([][]float32, int)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var in struct{ Input []string }
		if err := json.NewDecoder(q.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		vectors, status := answer(q.Context(), in.Input)
		if status != http.StatusOK {
			w.WriteHeader(status)
			return
		}
		var data []map[string]any
		for i, v := range vectors {
			data = append(data, map[string]any{"index": i, "embedding": v})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"object": "list", "data": data, "model": "m", "usage": map[string]int{"prompt_tokens": len(in.Input)}})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func served(url string) func(*Config) {
	return func(c *Config) { c.Server.BaseURL, c.Server.Model, c.MergeSimilarity = url, "m", 1 }
}

// A text of which a server makes nothing that is a vector, or over which it falls down each time, holds up none of the others.
func TestPoisonedText(t *testing.T) {
	for what, poison := range map[string]func() ([]float32, int){
		"all zeros": func() ([]float32, int) { return make([]float32, 4), http.StatusOK },
		"no number": func() ([]float32, int) { return nil, http.StatusOK },
		"falls":     func() ([]float32, int) { return nil, http.StatusInternalServerError },
	} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, served(embeddings(t, func(_ context.Context, texts []string) (out [][]float32, status int) {
				for _, text := range texts {
					v := []float32{float32(len(text)), 2, 3, 4}
					if strings.Contains(text, "poison") {
						if v, status = poison(); status != http.StatusOK {
							return nil, status
						}
					}
					out = append(out, v)
				}
				return out, http.StatusOK
			})))
			r.keep("1", "One thing.")
			r.keep("2", "A poisoned text.")
			r.keep("3", "Another thing, and a longer one.")
			r.settle()
			if n := r.number(`SELECT count(*) FROM recall_vector WHERE length(vector) > 0`); n != 2 {
				t.Errorf("%d vectors", n)
			}
			if n := r.metric(r.meter.tokens); n < 2 {
				t.Errorf("%v tokens", n)
			}
			r.until("there is no problem", func() bool { return len(r.health()) == 0 })
		})
	}
}

// A server that takes its time for a question costs its vector, not the answer: who asks waits for a moment only.
func TestSlowServer(t *testing.T) {
	r := newRig(t, served(embeddings(t, func(ctx context.Context, texts []string) (out [][]float32, status int) {
		for _, text := range texts {
			if strings.HasSuffix(text, "?") {
				<-ctx.Done()
			}
			out = append(out, []float32{float32(len(text)), 2, 3, 4})
		}
		return out, http.StatusOK
	})))
	r.keep("1", "The key hangs behind the door.")
	r.until("the server is used", func() bool { return r.state().Kind == bus.RecallServer })
	r.settle()
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	out, err := bus.RecallSearch.Ask(ctx, r.ask, bus.RecallQuery{Owner: "terminal:owner", Text: "Where is the key?"})
	if err != nil || len(out.Hits) != 1 || out.Embedder != "" {
		t.Errorf("%+v, %v", out, err)
	}
}

// Where facts were forgotten there is room in memory again for the vectors that had found none.
func TestRoomInMemoryComesBack(t *testing.T) {
	r := newRig(t, nil)
	r.shelf.max = 64 << 10
	r.shelf.begin(r.shelf.embedder, r.engine.get().Dim())
	for i := range 400 {
		r.keep(id(i), "Fact about "+id(i), owner([]string{"telegram:1", "telegram:2"}[i%2]))
	}
	r.settle()
	r.find("Fact")
	r.until("the memory is full", func() bool { _, _, left := r.shelf.state(); return left > 0 })
	if _, err := bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{Owner: "telegram:1", All: true}); err != nil {
		t.Fatal(err)
	}
	for i := range 180 {
		if _, err := bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{IDs: []string{id(2*i + 1)}}); err != nil {
			t.Fatal(err)
		}
	}
	r.until("all are in memory", func() bool {
		r.find("Fact")
		n, _, left := r.shelf.state()
		return n == 20 && left == 0
	})
	if bits := r.shelf.await(t.Context(), r.shelf.embedder, time.Second).Bits(); bits != wholeBits {
		t.Errorf("%d bits of each", bits)
	}
}

// An index that had to give up precision finds the same as the vectors themselves.
func TestCoarseIndexIsMadeUpFor(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MergeSimilarity, c.MinSimilarity = 1, 0.0001 })
	r.shelf.max = 44 << 10
	r.shelf.begin(r.shelf.embedder, r.engine.get().Dim())
	verbs, things, places := []string{"keeps", "lost", "sells", "paints", "repairs"}, []string{"lantern", "bicycle", "violin", "kettle", "ladder", "compass"}, []string{"garage", "attic", "harbour", "orchard", "station", "library", "bakery"}
	for i := range 210 {
		r.keep(id(i), "Ann "+verbs[i%5]+" the "+things[i%6]+" in the "+places[i%7]+" with number "+id(i))
	}
	r.settle()
	x := r.shelf.await(t.Context(), r.shelf.embedder, time.Second)
	if x == nil || x.Bits() > 3 {
		t.Fatal("the index is not coarse")
	}
	rows, err := r.store.Query(t.Context(), `SELECT n, vector FROM recall_vector`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	vectors := map[int64][]float32{}
	for rows.Next() {
		var n int64
		var blob []byte
		if err := rows.Scan(&n, &blob); err != nil {
			t.Fatal(err)
		}
		vectors[n] = unpack(nil, blob)
	}
	asked, same := 0, 0
	for _, text := range []string{"who repairs the violin at the station", "the ladder in the orchard", "Ann paints a compass", "bakery and kettle", "lost bicycle, harbour"} {
		question := r.question(t.Context(), r.engine.get(), text)
		hits, _ := r.byVector(t.Context(), "terminal:owner", text, 15)
		worst := float64(hits[len(hits)-1].Score)
		for n, v := range vectors {
			if d := dot(question, v); d > worst+1e-6 {
				asked++
				if slices.ContainsFunc(hits, func(h index.Hit) bool { return h.ID == n && float64(h.Score)-d < 1e-5 }) {
					same++
				}
			}
		}
	}
	if same < asked*95/100 || asked < 30 {
		t.Errorf("of %d nearest vectors %d are found", asked, same)
	}
}

// Whose name begins like another's loses none of the places among the best.
func TestOwnersAlikeDoNotCrowdEachOtherOut(t *testing.T) {
	r := newRig(t, func(c *Config) { c.VectorsWeight = 0 })
	r.keep("mine", "There is a bicycle somewhere in the cellar behind the shelves with all the old paint", owner("gateway:ann"))
	for i := range 40 {
		r.keep(id(i), "Bicycle "+id(i), owner([]string{"gateway:ann-marie", "terminal:ann", "gateway:ann bicycle"}[i%3]))
	}
	for who, want := range map[string]string{"gateway:ann": "mine", "ann": ""} {
		out, err := bus.RecallSearch.Ask(t.Context(), r.ask, bus.RecallQuery{Owner: who, Text: "the bicycle", Limit: 1})
		if err != nil || want != "" && (len(out.Hits) != 1 || out.Hits[0].ID != want) || want == "" && len(out.Hits) > 0 {
			t.Errorf("%s finds %+v, %v", who, out.Hits, err)
		}
	}
}

// Texts that take several times their length on the bus can be listed, found, exported and imported all the same.
func TestTextsThatSwellOnTheBus(t *testing.T) {
	r := newRig(t, nil)
	swelling := strings.Repeat("<", bus.RecallMaxText-100)
	for i := range bus.RecallPageMax {
		r.keep(id(i), "swelling "+id(i)+" "+swelling)
	}
	if all := r.all(false); len(all) != bus.RecallPageMax {
		t.Errorf("%d are listed", len(all))
	}
	if out, err := bus.RecallSearch.Ask(t.Context(), r.ask, bus.RecallQuery{Owner: "terminal:owner", Text: "swelling", Limit: bus.RecallMaxHits}); err != nil || len(out.Hits) < 20 {
		t.Errorf("%d are found, %v", len(out.Hits), err)
	}
}

// Everything of an owner with very many facts goes in several calls, each within its time.
func TestForgettingMuchTakesSeveralCalls(t *testing.T) {
	r := newRig(t, nil)
	for i := range 70 {
		r.keep(id(i), "Fact about "+id(i))
	}
	r.forgets = 2 * forgetEach
	for _, want := range []int{50, 20, 0} {
		out, err := r.forget(t.Context(), bus.RecallForget{Owner: "terminal:owner", All: true})
		if err != nil || out.Count != want {
			t.Errorf("%+v, want %d; %v", out, want, err)
		}
	}
	if left := r.all(true); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}

// Long facts without vectors are compared by their words, and that takes no longer than a search may.
func TestDiversityWithoutVectorsIsQuick(t *testing.T) {
	var all []candidate
	for i := range 3 * bus.RecallMaxHits {
		c := candidate{score: 1 - float64(i)/1000}
		for n := 0; len(c.Text) < bus.RecallMaxText-20; n++ {
			c.Text += fmt.Sprint(" wörd", i%7*1000+n)
		}
		all = append(all, c)
	}
	cfg := Defaults()
	began := time.Now()
	out := cfg.pick(all, bus.RecallMaxHits, 0)
	if took := time.Since(began); len(out) != bus.RecallMaxHits || took > 2*time.Second {
		t.Errorf("%d within %v", len(out), took)
	}
	if a, b := out[0].Text[:20], out[1].Text[:20]; a == b {
		t.Errorf("%q is followed by %q", a, b)
	}
}
