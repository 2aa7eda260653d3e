// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// form is what a node of the schema holds.
type form int

const (
	formNone     form = iota // a Go type that configuration cannot express
	formSection              // a struct: fixed names
	formEntries              // a map: free names, each with the same content
	formString               // text
	formText                 // text that its type reads with UnmarshalText
	formDuration             // text such as "8s"
	formBool
	formInt
	formUint
	formFloat
	formList // []T of one of the forms above
	formOneOrMore
)

// maxDepth bounds the nesting of sections, so that a struct that holds a map of
// itself ends as an error and not as a hang.
const maxDepth = 8

// node is one name of the schema: a section, a map of entries or a value.
type node struct {
	name   string
	doc    string
	form   form
	typ    reflect.Type
	index  int     // the field in the section's struct
	fields []*node // of a section
	elem   *node   // of entries and lists
	secret bool
	live   bool // a change counts without a restart
	bounds bounds
	def    any // the default as TOML would give it; nil for sections and entries
}

var (
	textReader   = reflect.TypeFor[encoding.TextUnmarshaler]()
	revealer     = reflect.TypeFor[interface{ Reveal() string }]()
	durationType = reflect.TypeFor[time.Duration]()
	stringList   = reflect.TypeFor[StringList]()
)

// StringList is a list of text that may be written as one text: provider =
// "offline" means ["offline"].
type StringList []string

// newSchema reads the schema and the defaults from a struct or a pointer to one.
// Its error names every field that cannot be configuration: a mistake of the
// program, not of the owner. The schema is usable even then, without these fields.
func newSchema(defaults any) (*node, error) {
	v := reflect.ValueOf(defaults)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return &node{form: formSection}, fmt.Errorf("read schema: %T is not a struct", defaults)
	}
	var errs []error
	root := newNode(v.Type(), nil, &errs)
	root.setDefaults(v)
	if len(errs) > 0 {
		return root, fmt.Errorf("read schema: %w", errors.Join(errs...))
	}
	return root, nil
}

// newNode describes t, and below it every field with a koanf tag.
func newNode(t reflect.Type, path []string, errs *[]error) *node {
	n := &node{typ: t, form: formOf(t)}
	n.secret = t.Implements(revealer) || reflect.PointerTo(t).Implements(revealer)
	if len(path) > maxDepth {
		n.form = formNone
	}
	switch n.form {
	case formNone:
		*errs = append(*errs, fmt.Errorf("%s: no configuration of type %s", joinKey(path), t))
	case formEntries:
		n.elem = newNode(t.Elem(), append(path[:len(path):len(path)], "NAME"), errs)
	case formList:
		n.elem = newNode(t.Elem(), path, errs)
		n.secret = n.elem.secret
	case formSection:
		n.addFields(path, errs)
	}
	return n
}

func (n *node) addFields(path []string, errs *[]error) {
	for i := range n.typ.NumField() {
		field := n.typ.Field(i)
		name := field.Tag.Get("koanf")
		if name == "" || name == "-" {
			continue
		}
		at := append(path[:len(path):len(path)], name)
		if !field.IsExported() || !goodName(name) || n.child(name) != nil {
			*errs = append(*errs, fmt.Errorf("%s: field %s needs an exported name and a unique lower-case tag", joinKey(at), field.Name))
			continue
		}
		child := newNode(field.Type, at, errs)
		child.name, child.index, child.doc = name, i, field.Tag.Get("doc")
		if err := child.readBounds(field.Tag); err != nil {
			*errs = append(*errs, fmt.Errorf("%s: %w", joinKey(at), err))
		}
		if field.Tag.Get("live") == "true" {
			child.goLive()
		}
		if child.form == formEntries && child.elem.isValue() {
			child.elem.doc = child.doc // there is no field to say it on
		}
		if child.form != formNone {
			n.fields = append(n.fields, child)
		}
	}
}

// goLive marks n and all below it.
func (n *node) goLive() {
	n.live = true
	for _, f := range n.fields {
		f.goLive()
	}
	if n.elem != nil {
		n.elem.goLive()
	}
}

// goodName keeps every key writable as an environment variable and as a bare key.
func goodName(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" &&
		!strings.Contains(name, "__") && name[0] != '_' && name[len(name)-1] != '_'
}

// formOf says how a Go type is written, formNone if it cannot be.
func formOf(t reflect.Type) form {
	switch {
	case reflect.PointerTo(t).Implements(textReader):
		return formText
	case t == durationType:
		return formDuration
	case t == stringList:
		return formOneOrMore
	}
	switch t.Kind() {
	case reflect.Struct:
		return formSection
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return formEntries
		}
	case reflect.Slice:
		if f := formOf(t.Elem()); f >= formString && f < formList {
			return formList
		}
	case reflect.String:
		return formString
	case reflect.Bool:
		return formBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return formInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return formUint
	case reflect.Float32, reflect.Float64:
		return formFloat
	}
	return formNone
}

// isValue reports whether the node is written as `name = value`.
func (n *node) isValue() bool { return n.form >= formString }

// child returns what name means below n, or nil.
func (n *node) child(name string) *node {
	switch n.form {
	case formSection:
		for _, f := range n.fields {
			if f.name == name {
				return f
			}
		}
	case formEntries:
		if goodEntry(name) {
			return n.elem
		}
	}
	return nil
}

// goodEntry refuses entry names that could not be shown.
func goodEntry(name string) bool {
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return false
		}
	}
	return name != ""
}

// find follows path as far as the schema goes and says how many parts that was.
func (n *node) find(path []string) (*node, int) {
	for i, name := range path {
		next := n.child(name)
		if next == nil {
			return n, i
		}
		n = next
	}
	return n, len(path)
}

// walk calls visit for every node below n with its path, parents first, in struct
// order. The content of entries is visited once, under the name NAME.
func (n *node) walk(path []string, visit func(path []string, n *node)) {
	below := func(name string, child *node) {
		at := append(path[:len(path):len(path)], name)
		visit(at, child)
		child.walk(at, visit)
	}
	for _, f := range n.fields {
		below(f.name, f)
	}
	if n.form == formEntries {
		below("NAME", n.elem)
	}
}

// setDefaults notes the value of every field as its default.
func (n *node) setDefaults(v reflect.Value) {
	switch {
	case n.form == formSection:
		for _, f := range n.fields {
			f.setDefaults(v.Field(f.index))
		}
	case n.form == formEntries:
		n.elem.setDefaults(reflect.New(n.elem.typ).Elem())
	case n.isValue():
		n.def = n.plain(v)
	}
}
