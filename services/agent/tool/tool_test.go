// SPDX-License-Identifier: MIT OR Apache-2.0

package tool_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/roomtest"
)

var now = time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)

func input(t testing.TB, key, value string) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(map[string]string{key: value})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func remember(t testing.TB, s *sqlite.Store, owner, text string) {
	t.Helper()
	res, err := remembering(s).Call(t.Context(), tool.Call{Owner: owner, Input: input(t, "text", text), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), res.Write); err != nil {
		t.Fatal(err)
	}
}

func recall(t testing.TB, s *sqlite.Store, owner, query string) (string, error) {
	t.Helper()
	res, err := tool.Recall{Store: s}.Call(t.Context(), tool.Call{Owner: owner, Input: input(t, "query", query), Now: now})
	return res.Text, err
}

func TestNotes(t *testing.T) {
	s := roomtest.Store(t, tool.NotesSchema)
	remember(t, s, "ann", "  the boiler code is 4711 ")
	remember(t, s, "ann", "Café Müller opens at nine")
	remember(t, s, "bob", "the boiler is broken")
	for _, c := range []struct{ query, want string }{
		{"boiler", "2026-07-15: the boiler code is 4711"},
		{"CODE", "2026-07-15: the boiler code is 4711"},
		{"cafe muller?", "2026-07-15: Café Müller opens at nine"},
		{`"boiler" AND NOT code*`, "2026-07-15: the boiler code is 4711"},
		{"broken", `No note about "broken".`},
	} {
		if got, err := recall(t, s, "ann", c.query); err != nil || got != c.want {
			t.Errorf("%q: %q, %v, want %q", c.query, got, err, c.want)
		}
	}
	for n := range 20 {
		remember(t, s, "ann", fmt.Sprint("socks number ", n))
	}
	if got, err := recall(t, s, "ann", "socks"); err != nil || strings.Count(got, "\n") != 7 {
		t.Errorf("%q, %v, want eight notes", got, err)
	}
}

// TestRefusals: what the model did wrong comes as a coded error, which it reads.
func TestRefusals(t *testing.T) {
	s := roomtest.Store(t, tool.NotesSchema)
	for name, c := range map[string]struct {
		tool  tool.Tool
		input string
	}{
		"empty note":    {remembering(s), `{"text":" "}`},
		"long note":     {remembering(s), `{"text":"` + strings.Repeat("x", 4097) + `"}`},
		"unknown field": {remembering(s), `{"note":"x"}`},
		"wrong type":    {tool.Recall{Store: s}, `{"query":1}`},
		"no words":      {tool.Recall{Store: s}, `{"query":"?!"}`},
		"not JSON":      {tool.Recall{Store: s}, `{`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.tool.Call(t.Context(), tool.Call{Owner: "ann", Input: json.RawMessage(c.input), Now: now})
			if !errors.Is(err, &bus.Error{Code: bus.CodeInvalid}) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// remembering is the tool, for three notes of one person and five of all.
func remembering(s *sqlite.Store) tool.Remember {
	return tool.Remember{Store: s, Most: 3, MostAll: 5}
}

// Notes are bounded for each person, and for everybody together.
func TestNotesAreBounded(t *testing.T) {
	s := roomtest.Store(t, tool.NotesSchema)
	for i, c := range []struct {
		owner string
		why   string // "": it is kept
	}{{"ann", ""}, {"ann", ""}, {"ann", ""}, {"ann", "one person"}, {"bob", ""}, {"bob", ""}, {"bob", "everybody"}, {"cem", "everybody"}, {"ann", "one person"}} {
		res, err := remembering(s).Call(t.Context(), tool.Call{Owner: c.owner, Input: json.RawMessage(`{"text":"x"}`), Now: now})
		if c.why != "" {
			if bus.CodeOf(err) != bus.CodeTooLarge || !strings.Contains(err.Error(), c.why) {
				t.Errorf("note %d: %v", i, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("note %d: %v", i, err)
		}
		if err := s.Write(t.Context(), res.Write); err != nil {
			t.Fatal(err)
		}
	}
}

// The gauge knows the notes of before and the new ones.
func TestNotesAreCounted(t *testing.T) {
	s := roomtest.Store(t, tool.NotesSchema)
	for want := 1.0; want <= 2; want++ {
		set, err := tool.New(tool.Defaults(), tool.Deps{Store: s, DataDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if err := set.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(set.All(), func(tl tool.Tool) bool { return tl.Spec().Name == "remember" })
		res, err := set.All()[i].Call(t.Context(), tool.Call{Owner: "ann", Input: json.RawMessage(`{"text":"x"}`), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), res.Write); err != nil {
			t.Fatal(err)
		}
		if got := gauge(t, set, "blufio_notes"); got != want {
			t.Errorf("the gauge shows %v, want %v", got, want)
		}
	}
}

func TestTime(t *testing.T) {
	res, err := tool.Time{Location: time.FixedZone("CEST", 7200)}.Call(t.Context(), tool.Call{Now: now})
	if err != nil || res.Text != "Wednesday, 15 July 2026, 14:00:00 CEST (+02:00)" {
		t.Errorf("%q, %v", res.Text, err)
	}
}

func TestSpecsAreJSONSchema(t *testing.T) {
	for _, tl := range []tool.Tool{tool.Time{}, remembering(nil), tool.Recall{}} {
		if s := tl.Spec(); !json.Valid(s.Schema) || s.Name == "" || s.Description == "" {
			t.Errorf("%+v", s)
		}
	}
}

// FuzzRecall: nothing that is typed is a syntax error, in FTS5 or otherwise.
func FuzzRecall(f *testing.F) {
	for _, q := range []string{"boiler", `"`, `a" OR "b`, "NEAR(a b)", "text:x", "a*", "^a", "-a", "\x00", "a\x00b", "ª²½", "\u0301", "\xff", "日本", strings.Repeat("w ", 99), strings.Repeat("x", 5000)} {
		f.Add(q)
	}
	s := roomtest.Store(f, tool.NotesSchema)
	remember(f, s, "ann", "the boiler code is 4711")
	f.Fuzz(func(t *testing.T, query string) {
		_, err := recall(t, s, "ann", query)
		if err != nil && !errors.Is(err, &bus.Error{Code: bus.CodeInvalid}) {
			t.Errorf("%q: %v", query, err)
		}
	})
}
