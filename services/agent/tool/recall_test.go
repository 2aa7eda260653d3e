// SPDX-License-Identifier: MIT OR Apache-2.0

package tool_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/internal/eventlog"
	"github.com/blufio/blufio/services/internal/sqlite"
	"github.com/blufio/blufio/services/recall"
	"github.com/blufio/blufio/services/roomtest"
)

// room is the real recall room, without the agent between it and the tools.
type room struct {
	conn  *bus.Conn
	tools map[string]tool.Tool
	kept  []bus.RecallAdd
}

func newRoom(t testing.TB) *room {
	t.Helper()
	b, store := bustest.New(t), roomtest.Store(t, recall.Schema)
	s, err := recall.New(recall.Defaults(), recall.Deps{Store: store, Events: eventlog.New(store), Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	roomtest.Start(t, b, s)
	set, err := tool.New(tool.Defaults(), tool.Deps{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := &room{conn: b.Connect(t, "agent", bus.RecallSearch, bus.RecallDrop), tools: map[string]tool.Tool{}}
	for _, tl := range set.All() {
		r.tools[tl.Spec().Name] = tl
	}
	return r
}

func (r *room) Ready() error { return nil }
func (r *room) Keep(_ *sqlite.Tx, a bus.RecallAdd) error {
	r.kept = append(r.kept, a)
	return nil
}
func (r *room) Search(ctx context.Context, q bus.RecallQuery) (bus.RecallHits, error) {
	return bus.RecallSearch.Ask(ctx, r.conn, q)
}
func (r *room) Forget(ctx context.Context, f bus.RecallForget) (bus.RecallForgotten, error) {
	return bus.RecallDrop.Ask(ctx, r.conn, f)
}

func (r *room) use(t *testing.T, name, input string) (tool.Result, error) {
	return r.tools[name].Call(t.Context(), tool.Call{ID: "m-c", Person: "me", Source: bus.RecallModel, Recall: r, Input: json.RawMessage(input), Now: now})
}

// What the model did wrong comes as a coded error, which it reads.
func TestRefusals(t *testing.T) {
	r := newRoom(t)
	for name, c := range map[string]struct{ tool, input string }{
		"empty fact":    {"remember", `{"text":" "}`},
		"long fact":     {"remember", `{"text":"` + strings.Repeat("x", 4097) + `"}`},
		"long about":    {"remember", `{"text":"x","about":"` + strings.Repeat("x", 201) + `"}`},
		"unknown field": {"remember", `{"note":"x"}`},
		"wrong type":    {"recall", `{"query":1}`},
		"no words":      {"recall", `{"query":"?!"}`},
		"long query":    {"recall", `{"query":"` + strings.Repeat("x", 501) + `"}`},
		"not JSON":      {"recall", `{`},
		"both":          {"forget", `{"query":"x","id":"y"}`},
		"neither":       {"forget", `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := r.use(t, c.tool, c.input); !errors.Is(err, &bus.Error{Code: bus.CodeInvalid}) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A fact is kept when its step is, and not before.
func TestRememberWaitsForTheStep(t *testing.T) {
	r := newRoom(t)
	res, err := r.use(t, "remember", `{"text":" the boiler code is 4711 ","about":" boiler code "}`)
	if err != nil || len(r.kept) != 0 {
		t.Fatalf("%v, kept %v", err, r.kept)
	}
	if err := res.Write(nil); err != nil {
		t.Fatal(err)
	}
	want := bus.RecallAdd{ID: "m-c", Owner: "me", Text: "the boiler code is 4711", About: "boiler code", Source: bus.RecallModel, Importance: 0.6, At: now}
	if len(r.kept) != 1 || r.kept[0] != want {
		t.Errorf("%+v, want %+v", r.kept, want)
	}
}

// Without the room there are no tools for it.
func TestNoRecall(t *testing.T) {
	set, err := tool.New(tool.Defaults(), tool.Deps{DataDir: t.TempDir(), NoRecall: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, tl := range set.All() {
		if n := tl.Spec().Name; n == "remember" || n == "recall" || n == "forget" {
			t.Errorf("there is %s", n)
		}
	}
}

func TestSpecsAreJSONSchema(t *testing.T) {
	for name, tl := range newRoom(t).tools {
		if s := tl.Spec(); !json.Valid(s.Schema) || s.Name == "" || s.Description == "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// FuzzRecall: nothing that is typed is a syntax error, in FTS5 or otherwise.
func FuzzRecall(f *testing.F) {
	for _, q := range []string{"boiler", `"`, `a" OR "b`, "NEAR(a b)", "text:x", "a*", "^a", "-a", "\x00", "a\x00b", "ª²½", "\u0301", "\xff", "日本", strings.Repeat("w ", 99), strings.Repeat("x", 5000)} {
		f.Add(q)
	}
	r := newRoom(f)
	f.Fuzz(func(t *testing.T, query string) {
		input, err := json.Marshal(map[string]string{"query": query})
		if err != nil {
			t.Skip()
		}
		for _, name := range []string{"recall", "forget"} {
			if _, err := r.use(t, name, string(input)); err != nil && !errors.Is(err, &bus.Error{Code: bus.CodeInvalid}) {
				t.Errorf("%s %q: %v", name, query, err)
			}
		}
	})
}
