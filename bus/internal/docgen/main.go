// SPDX-License-Identifier: MIT OR Apache-2.0

// Command docgen writes bus/EVENTS.md from the contract, the payload structs'
// comments and the golden examples. Run it with `go generate ./bus`.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"github.com/blufio/blufio/bus"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	doc, err := generate(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "EVENTS.md"), doc, 0o644)
}

const head = `<!-- Generated from contract.go by go generate; do not edit. -->
# The bus: every subject, payload and example

Subjects begin with ` + "`" + bus.Prefix + "`" + `. Payloads are JSON; readers ignore fields they do not know, times are RFC 3339, money is
in micro-dollars. A payload never changes its shape under a version: a new shape is a new lane.

- A **durable event** is written to the database together with its fact, then published and kept in the stream ` + "`EVENTS`" + `.
  Headers: ` + "`" + bus.HeaderSeq + "`" + ` is its position, ` + "`" + bus.HeaderEpoch + "`" + ` the log that the position counts in, ` + "`Nats-Msg-Id`" + ` both. It may arrive twice; positions tell.
- A **live event** is only published: whoever does not listen at that moment does not hear it.
- A **call** is a NATS micro endpoint: a request with an answer. An error comes in the headers
  ` + "`Nats-Service-Error-Code`" + ` and ` + "`Nats-Service-Error`" + `, with ` + "`{hint, retry_after_ms}`" + ` as its body.

`

// generate makes the document for the bus package in dir.
func generate(dir string) ([]byte, error) {
	docs, err := readDocs(dir)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(head)
	lanes := bus.Contract()
	sort.SliceStable(lanes, func(i, j int) bool { return lanes[i].Spec().Name < lanes[j].Spec().Name })
	b.WriteString("| subject | kind | from | heard by | meaning |\n|---|---|---|---|---|\n")
	for _, l := range lanes {
		s := l.Spec()
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | %s |\n", s.Name, anchor(s.Name), s.Kind, strings.Join(s.From, ", "), strings.Join(s.Heard, ", "), s.Meaning)
	}
	for _, l := range lanes {
		if err := lane(&b, dir, l.Spec(), docs); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func anchor(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '{' || r == '}' {
			return -1
		}
		return r
	}, name)
}

func lane(b *bytes.Buffer, dir string, s *bus.Spec, docs map[string]string) error {
	example, err := os.ReadFile(filepath.Join(dir, "testdata", "v1", bus.GoldenName(s)))
	if err != nil {
		return fmt.Errorf("lane %s has no golden example: %w", s.Name, err)
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", s.Name, s.Meaning)
	fmt.Fprintf(b, "`%s` · %s · %s → %s", bus.Prefix+s.Name, s.Kind, strings.Join(s.From, ", "), strings.Join(s.Heard, ", "))
	if s.Kind == bus.KindCall {
		fmt.Fprintf(b, " · answers within %s", s.Timeout)
	}
	b.WriteString("\n\n")
	fields(b, s.Payload, docs)
	if s.Reply != nil {
		fmt.Fprintf(b, "\nAnswer:\n\n")
		fields(b, s.Reply, docs)
	}
	fmt.Fprintf(b, "\n```json\n%s\n```\n", bytes.TrimSpace(example))
	return nil
}

// fields lists the JSON fields of t with the comments of their declarations.
func fields(b *bytes.Buffer, t reflect.Type, docs map[string]string) {
	rows := rowsOf(t, docs)
	if len(rows) == 0 {
		b.WriteString("An empty object.\n")
		return
	}
	b.WriteString("| field | type | |\n|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", r[0], r[1], r[2])
	}
}

func rowsOf(t reflect.Type, docs map[string]string) [][3]string {
	var rows [][3]string
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			rows = append(rows, rowsOf(f.Type, docs)...)
			continue
		}
		kind := typeName(f.Type)
		if strings.Contains(options, "omit") {
			kind += ", may be absent"
		}
		rows = append(rows, [3]string{name, kind, strings.ReplaceAll(docs[t.Name()+"."+f.Name], "|", "\\|")})
	}
	return rows
}

func typeName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem()) + " or null"
	case t == reflect.TypeFor[bus.MicroUSD]():
		return "micro-dollars"
	case t.String() == "time.Time":
		return "time"
	case t == reflect.TypeFor[bus.Hidden]():
		return "string, never logged"
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem())
	case t.Kind() == reflect.Struct:
		return "object"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.String:
		return "string"
	}
	return "integer"
}

// readDocs returns the comments of struct fields, by "Type.Field".
func readDocs(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	docs := map[string]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range st.Fields.List {
				text := strings.TrimSpace(f.Doc.Text() + f.Comment.Text())
				for _, id := range f.Names {
					docs[spec.Name.Name+"."+id.Name] = strings.ReplaceAll(text, "\n", " ")
				}
			}
			return true
		})
	}
	return docs, nil
}
