// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func texts(hits []bus.RecallHit) (out []string) {
	for _, h := range hits {
		out = append(out, h.Text)
	}
	return out
}

func TestAddAndSearch(t *testing.T) {
	r := newRig(t, nil)
	r.keep("1", "The dentist is called Dr. Weber, phone 0231 555.")
	r.keep("2", "Tea is for the evening.")
	r.keep("3", "The dentist is called Dr. Weber.", owner("terminal-owner")) // another one, though written alike
	r.settle()
	hits := r.find("What is the phone number of the dentist?")
	if len(hits) == 0 || hits[0].ID != "1" || hits[0].By != bus.RecallByBoth || hits[0].Score <= 0 {
		t.Fatalf("%+v", hits)
	}
	for _, h := range hits {
		if h.Owner != "terminal:owner" {
			t.Errorf("a fact of somebody else: %+v", h)
		}
	}
	if hits := r.find("the evenings"); len(hits) != 1 || hits[0].ID != "2" {
		t.Errorf("an inflection: %+v", hits)
	}
	for _, q := range []string{"", "and is it so?", "Quantum chromodynamics", `" OR owner:* NEAR( ^`} {
		if hits := r.find(q); len(hits) != 0 {
			t.Errorf("%q finds %v", q, texts(hits))
		}
	}
	out, err := bus.RecallSearch.Ask(t.Context(), r.ask, bus.RecallQuery{Text: "dentist", Limit: 10})
	if err != nil || len(out.Hits) != 2 {
		t.Errorf("everybody's: %+v, %v", out, err)
	}
	r.until("what is found is counted", func() bool { return r.number(`SELECT found FROM recall_entry WHERE id = '1'`) >= 2 })
}

func TestTheSameCallAddsOnce(t *testing.T) {
	r := newRig(t, nil)
	first := r.keep("call-1", "I like tea.", about("drinks"))
	again := r.keep("call-1", "I like tea.", about("drinks"))
	if first.Merged || again.Entry.Seen != 1 || again.Entry.ID != "call-1" || again.Merged {
		t.Errorf("%+v, then %+v", first, again)
	}
	said := r.keep("call-2", " i LIKE  tea ", importance(0.9))
	if !said.Merged || said.Entry.ID != "call-1" || said.Entry.Seen != 2 || said.Entry.Importance != 0.9 {
		t.Errorf("%+v", said)
	}
	if twice := r.keep("call-2", "I like tea"); !twice.Merged || twice.Entry.Seen != 2 {
		t.Errorf("a merged call, made again, counted: %+v", twice)
	}
	for i := range 3 * keptCalls {
		r.keep(id(i), "I like tea")
	}
	if n := r.number(`SELECT count(*) FROM recall_call`); n != keptCalls {
		t.Errorf("%d calls are kept of one fact, want %d", n, keptCalls)
	}
	if _, err := bus.RecallKeep.Ask(t.Context(), r.ask, bus.RecallAdd{ID: "call-1", Owner: "x", Text: "y", Source: "model"}); bus.CodeOf(err) != bus.CodeConflict {
		t.Errorf("an id of somebody else's fact: %v", err)
	}
}

func TestNearlyTheSameMerges(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MergeSimilarity = 0.85 })
	r.keep("1", "My favourite restaurant in Dortmund is the Green Lantern")
	r.settle()
	r.keep("2", "my favourite restaurant in Dortmund is the Green Lantern there")
	r.keep("3", "My favourite restaurant in Dortmund is not the Green Lantern")
	r.keep("4", "My favourite restaurant in Bochum is the Green Lantern")
	r.keep("5", "My favourite restaurant in Dortmund is the Green Lantern 2")
	r.keep("6", "My sister moved to the old town of Lyon in May with her family")
	r.keep("7", "My brother moved to the old town of Lyon in May with her family") // related words, and not the same
	r.settle()
	var ids []string
	for _, e := range r.all(true) {
		ids = append(ids, e.ID)
	}
	if !slices.Equal(ids, []string{"1", "3", "4", "5", "6", "7"}) {
		t.Errorf("left are %v: numbers, names, denials and words tell facts apart", ids)
	}
	if e := r.all(true)[0]; e.Seen != 2 {
		t.Errorf("%+v", e)
	}
	if again := r.keep("2", "my favourite restaurant in Dortmund is the Green Lantern there"); !again.Merged || again.Entry.ID != "1" || again.Entry.Seen != 2 {
		t.Errorf("the call that was merged, made again: %+v", again)
	}
}

func TestNewSupersedesOld(t *testing.T) {
	r := newRig(t, nil)
	r.keep("1", "The dentist is on Monday at 9.", about("Dentist"))
	r.settle()
	r.clock.add(time.Hour)
	if a := r.keep("2", "The dentist is on Tuesday at 10.", about("the déntist")); len(a.Superseded) != 0 {
		t.Errorf("another subject: %+v", a)
	}
	r.settle()
	a := r.keep("3", "The dentist is on Friday.", about(" DENTIST!"))
	if !slices.Equal(a.Superseded, []string{"1"}) || a.Merged {
		t.Fatalf("%+v", a)
	}
	r.settle()
	if hits := r.find("dentist Monday"); slices.ContainsFunc(hits, func(h bus.RecallHit) bool { return h.ID == "1" }) {
		t.Errorf("history is found: %+v", hits)
	}
	if n := r.number(`SELECT count(*) FROM recall_vector`); n != 2 {
		t.Errorf("%d vectors, want 2: history has none", n)
	}
	all := r.all(true)
	if len(all) != 3 || all[0].SupersededBy != "3" || len(r.all(false)) != 2 {
		t.Errorf("%+v", all)
	}
	if st := r.state(); st.Entries != 2 || st.History != 1 {
		t.Errorf("%+v", st)
	}
	if a := r.keep("4", "The dentist is on Monday at 9.", about("dentist")); a.Merged || !slices.Equal(a.Superseded, []string{"3"}) {
		t.Errorf("what was history holds again: %+v", a)
	}
	if n := len(r.said(bus.FactSuperseded)); n != 2 {
		t.Errorf("%d events tell of it", n)
	}
}

// Every bound of a call.
func TestBoundsOfCalls(t *testing.T) {
	r := newRig(t, nil)
	long := strings.Repeat("ab ", bus.RecallMaxText)
	for what, q := range map[string]bus.RecallAdd{
		"no id":      {Owner: "a", Text: "b", Source: "model"},
		"no owner":   {ID: "1", Text: "b", Source: "model"},
		"no word":    {ID: "1", Owner: ":::", Text: "b", Source: "model"},
		"no text":    {ID: "1", Owner: "a", Text: " \x00\n", Source: "model"},
		"long text":  {ID: "1", Owner: "a", Text: long, Source: "model"},
		"long about": {ID: "1", Owner: "a", Text: "b", About: long[:bus.RecallMaxAbout+2] + "x", Source: "model"},
		"no source":  {ID: "1", Owner: "a", Text: "b"},
		"importance": {ID: "1", Owner: "a", Text: "b", Source: "model", Importance: 1.1},
	} {
		if _, err := bus.RecallKeep.Ask(t.Context(), r.ask, q); bus.CodeOf(err) != bus.CodeInvalid && bus.CodeOf(err) != bus.CodeTooLarge {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, q := range map[string]bus.RecallQuery{
		"hits":     {Owner: "a", Text: "b", Limit: bus.RecallMaxHits + 1},
		"question": {Owner: "a", Text: long + long + long + long},
		"owner":    {Owner: "-", Text: "b"},
	} {
		if _, err := bus.RecallSearch.Ask(t.Context(), r.ask, q); bus.CodeOf(err) != bus.CodeInvalid && bus.CodeOf(err) != bus.CodeTooLarge {
			t.Errorf("search, %s: %v", what, err)
		}
	}
	if _, err := bus.RecallImport.Ask(t.Context(), r.ask, bus.RecallBatch{Entries: make([]bus.RecallEntry, bus.RecallMaxBatch+1)}); bus.CodeOf(err) != bus.CodeTooLarge {
		t.Errorf("import: %v", err)
	}
	for _, q := range []bus.RecallForget{{}, {Owner: "", All: true}, {IDs: make([]string, forgetOnce+1)}, {Owner: "a", IDs: []string{"1"}, All: true}} {
		if _, err := bus.RecallDrop.Ask(t.Context(), r.ask, q); bus.CodeOf(err) != bus.CodeInvalid {
			t.Errorf("forget %+v: %v", q, err)
		}
	}
	if n := r.state().Entries; n != 0 {
		t.Errorf("%d facts", n)
	}
}

func TestMaxBytes(t *testing.T) {
	r := newRig(t, nil)
	r.keep("1", "The garden "+strings.Repeat("has many roses and ", 20)+"a pond.", importance(1))
	r.keep("2", "The garden is small.")
	r.settle()
	out, err := bus.RecallSearch.Ask(t.Context(), r.ask, bus.RecallQuery{Owner: "terminal:owner", Text: "garden", MaxBytes: 100})
	if err != nil || len(out.Hits) != 1 || out.Hits[0].ID != "2" {
		t.Errorf("%+v, %v", out, err)
	}
}

// Beyond the bound the least valuable goes, history first.
func TestEviction(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxEntries = 10 })
	r.keep("old", "The plumber comes at 7.", about("plumber"))
	for i := range 8 {
		r.keep(id(i), strings.Repeat("word ", i+1)+"item "+id(i), importance(float64(i+1)/10))
	}
	r.keep("new", "The plumber comes at 9.", about("plumber"), importance(0))
	if st := r.state(); st.Entries+st.History != 10 {
		t.Fatalf("%+v", st)
	}
	r.keep("one more", "Water the plants on Sunday.", importance(0))
	if st := r.state(); st.Entries != 10 || st.History != 0 {
		t.Errorf("history did not go first: %+v", st)
	}
	r.keep("and one", "Buy bread.", importance(0.9))
	for _, e := range r.all(true) {
		if e.ID == "new" {
			t.Errorf("the least valuable is still there")
		}
	}
	if st := r.state(); st.Entries != 10 || len(r.said(bus.FactEvicted)) != 2 {
		t.Errorf("%+v, %v", st, r.said(bus.FactEvicted))
	}
	r.restart(func(c *Config) { c.MaxEntries = 3 })
	r.until("a lowered bound holds", func() bool { return r.state().Entries == 3 })
	if n := r.number(`SELECT count(*) FROM recall_words WHERE recall_words MATCH 'item'`); n > 3 {
		t.Errorf("%d facts are found", n)
	}
}

func TestExportAndImport(t *testing.T) {
	a := newRig(t, nil)
	a.keep("1", "The cat is called Minka.", about("cat"))
	a.clock.add(time.Hour)
	a.keep("2", "The cat is called Tom.", about("cat"))
	a.keep("3", "Anna lives in Hagen.", owner("telegram:1"))
	a.keep("4", "anna lives in hagen", owner("telegram:1"))
	exported := a.all(true)
	b := newRig(t, nil)
	b.keep("own", "Anna lives in Hagen!", owner("telegram:1"))
	for i, want := range []bus.RecallImported{{Added: 2, Known: 1}, {Known: 3}} {
		got, err := bus.RecallImport.Ask(t.Context(), b.ask, bus.RecallBatch{Entries: exported})
		if err != nil || got != want {
			t.Errorf("import %d: %+v, %v", i, got, err)
		}
	}
	b.settle()
	if hits := b.find("What is the cat called?"); len(hits) != 1 || hits[0].ID != "2" {
		t.Errorf("%+v", hits)
	}
	if st := b.state(); st.Entries != 2 || st.History != 1 {
		t.Errorf("%+v", st)
	}
	later := bus.RecallEntry{ID: "9", Owner: "terminal:owner", Text: "The cat is called Findus.", About: "cat", Source: bus.RecallModel, At: noon.Add(-time.Hour)}
	if _, err := bus.RecallImport.Ask(t.Context(), b.ask, bus.RecallBatch{Entries: []bus.RecallEntry{later}}); err != nil {
		t.Fatal(err)
	}
	if hits := b.find("What is the cat called?"); len(hits) != 1 || hits[0].ID != "2" {
		t.Errorf("what was said earlier superseded what was said later: %+v", hits)
	}
}

func TestPages(t *testing.T) {
	r := newRig(t, nil)
	for i := range 7 {
		r.keep(id(i), "Shelf "+id(i))
	}
	page, err := bus.RecallList.Ask(t.Context(), r.ask, bus.RecallPageQuery{Owner: "terminal:owner", Limit: 3})
	if err != nil || len(page.Entries) != 3 || page.Next == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	page, err = bus.RecallList.Ask(t.Context(), r.ask, bus.RecallPageQuery{Limit: 4, After: page.Next})
	if err != nil || len(page.Entries) != 4 || page.Next != "" || page.Entries[0].ID != "fact-3" {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestSwitchedOff(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Enable = false })
	if _, err := bus.RecallKeep.Ask(t.Context(), r.ask, bus.RecallAdd{ID: "1", Owner: "a", Text: "b", Source: "model"}); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Errorf("%v", err)
	}
	if hits := r.find("anything"); len(hits) != 0 || r.state().Kind != bus.RecallNone {
		t.Errorf("%+v, %+v", hits, r.state())
	}
}
