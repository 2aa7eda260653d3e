// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// files are the bytes of the database and of what lies beside it.
func (r *rig) files() []byte {
	r.Helper()
	var all []byte
	for _, end := range []string{"", "-wal"} {
		data, err := os.ReadFile(r.path + end)
		if err != nil {
			r.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

// What is forgotten is in no file, neither its text, nor its words in the index, nor its vector; nor in memory.
func TestForgettingIsReal(t *testing.T) {
	r := newRig(t, nil)
	for i := range 200 { // so that pages split and segments of the index are merged
		r.keep(id(i), "Something else about zebrafish number "+id(i)+" and its tank")
	}
	r.keep("old", "Xylophonmann hides the key under Quarzstein", about("Schluesselort"))
	r.settle()
	r.keep("new", "Xylophonmann hides the key behind Wurzelwerk", about("Schluesselort"))
	for i := range 200 {
		r.keep("more-"+id(i), "Plenty about marmots number "+id(i))
	}
	r.settle()
	vector := r.bytes(`SELECT vector FROM recall_vector v JOIN recall_entry e ON e.n = v.n WHERE e.id = 'new'`)[64:128]
	n := int64(r.number(`SELECT n FROM recall_entry WHERE id = 'new'`))
	r.find("Where is the key of Xylophonmann?")
	before := r.files()
	traces := map[string][]byte{"its text": []byte("Wurzelwerk"), "the text of its history": []byte("Quarzstein"), "a word in the index": []byte("lophonmann"),
		"what it is about": []byte("hluesselort"), "its vector": vector}
	for what, trace := range traces {
		if !bytes.Contains(bytes.ToLower(before), bytes.ToLower(trace)) {
			t.Fatalf("%s is not there to begin with", what)
		}
	}
	x := r.shelf.await(t.Context(), r.state().Embedder, time.Second)
	had := x.Len()
	out, err := bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{Owner: "terminal:owner", IDs: []string{"new", "nothing"}})
	if err != nil || out.Count != 2 || !slices.Equal(out.Unknown, []string{"nothing"}) {
		t.Fatalf("%+v, %v", out, err)
	}
	r.until("the files have nothing of it", func() bool {
		after := bytes.ToLower(r.files())
		for _, trace := range traces {
			if bytes.Contains(after, bytes.ToLower(trace)) {
				return false
			}
		}
		return true
	})
	if x.Len() != had-1 {
		t.Errorf("%d vectors in memory, %d before", x.Len(), had)
	}
	for _, text := range texts(r.find("Where is the key of Xylophonmann?")) {
		if strings.Contains(text, "Xylophonmann") {
			t.Errorf("%v", text)
		}
	}
	for _, table := range []string{"recall_entry", "recall_vector", "recall_call"} {
		if r.number(`SELECT count(*) FROM `+table+` WHERE n = ?`, n) != 0 {
			t.Errorf("a row is left in %s", table)
		}
	}
	if said := r.said(bus.FactForgotten); len(said) != 1 || bytes.Contains([]byte(said[0]), []byte("Wurzelwerk")) {
		t.Errorf("%v", said)
	}
}

func (r *rig) bytes(query string) (out []byte) {
	r.Helper()
	if err := r.store.QueryRow(r.Context(), query).Scan(&out); err != nil {
		r.Fatal(err)
	}
	return out
}

// Only the owner's facts go, by id or all of them.
func TestForgetOfAnOwner(t *testing.T) {
	r := newRig(t, nil)
	for i := range 2*forgetEach + 5 {
		r.keep(id(i), "mine "+id(i))
	}
	r.keep("theirs", "theirs", owner("telegram:1"))
	out, err := bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{Owner: "terminal:owner", IDs: []string{"theirs"}})
	if err != nil || out.Count != 0 || len(out.Unknown) != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	out, err = bus.RecallDrop.Ask(t.Context(), r.ask, bus.RecallForget{Owner: "terminal:owner", All: true})
	if err != nil || out.Count != 2*forgetEach+5 {
		t.Errorf("%+v, %v", out, err)
	}
	if all := r.all(true); len(all) != 1 || all[0].ID != "theirs" {
		t.Errorf("%d facts are left", len(all))
	}
	r.until("nothing waits for a vector", func() bool { return r.state().Pending == 0 })
}
