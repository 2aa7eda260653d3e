// SPDX-License-Identifier: MIT OR Apache-2.0

package bus_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

// Every lane declared in contract.go is in Contract, once.
func TestContractIsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "contract.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		declared += len(g.Specs)
	}
	seen := map[string]bool{}
	for _, l := range bus.Contract() {
		s := l.Spec()
		if seen[s.Name] {
			t.Errorf("%s is listed twice", s.Name)
		}
		seen[s.Name] = true
		if s.Meaning == "" || len(s.From) == 0 || len(s.Heard) == 0 {
			t.Errorf("%s does not say its meaning, from and heard", s.Name)
		}
		if (s.Area() == "evt") != (s.Kind == bus.KindDurable) {
			t.Errorf("%s: facts, and only they, are durable events", s.Name)
		}
	}
	if len(seen) != declared {
		t.Errorf("contract.go declares %d lanes, Contract lists %d", declared, len(seen))
	}
}

// A payload never changes its shape under a version: the examples of version 1
// decode without unknown fields, use every field, and encode to the same bytes.
func TestGoldenPayloads(t *testing.T) {
	used := map[string]bool{}
	for _, l := range bus.Contract() {
		s := l.Spec()
		name := bus.GoldenName(s)
		used[name] = true
		t.Run(s.Name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", "v1", name))
			if err != nil {
				t.Fatal(err)
			}
			if s.Reply == nil {
				checkGolden(t, data, s.Payload)
				return
			}
			var both struct {
				Request json.RawMessage `json:"request"`
				Reply   json.RawMessage `json:"reply"`
			}
			if err := json.Unmarshal(data, &both); err != nil {
				t.Fatal(err)
			}
			checkGolden(t, both.Request, s.Payload)
			checkGolden(t, both.Reply, s.Reply)
		})
	}
	files, err := filepath.Glob("testdata/v1/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !used[filepath.Base(f)] {
			t.Errorf("%s belongs to no lane", f)
		}
	}
}

func checkGolden(t *testing.T, data []byte, typ reflect.Type) {
	t.Helper()
	var want bytes.Buffer
	if err := json.Compact(&want, data); err != nil {
		t.Fatal(err)
	}
	v := reflect.New(typ)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v.Interface()); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("the payload changed its shape:\n got %s\nwant %s", got, want.Bytes())
	}
	checkFilled(t, typ.Name(), v.Elem())
}

// checkFilled fails for a field that the example leaves out: its removal would
// go unnoticed.
func checkFilled(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			t.Errorf("%s: the example has no value", path)
			return
		}
		checkFilled(t, path, v.Elem())
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			return
		}
		if v.Len() == 0 {
			t.Errorf("%s: the example's list is empty", path)
			return
		}
		checkFilled(t, path+"[0]", v.Index(0))
	case reflect.Struct:
		if v.Type().String() == "time.Time" {
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if v.Field(i).IsZero() && strings.Contains(f.Tag.Get("json"), "omitempty") {
				continue // absent where it does not apply
			}
			checkFilled(t, path+"."+f.Name, v.Field(i))
		}
	case reflect.String:
		if v.Len() == 0 {
			t.Errorf("%s: the example's text is empty", path)
		}
	}
}

// Subjects stand in contract.go and nowhere else outside tests. The examples in contrib
// are programs of others: they read EVENTS.md.
func TestNoSubjectLiteralOutsideBus(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == filepath.Join("..", "bus") || path == filepath.Join("..", "contrib") || strings.HasPrefix(d.Name(), ".git")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(`"blufio.v1`)) {
			t.Errorf("%s spells out a subject", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
