// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"reflect"
	"slices"
)

// Loaded answers for each key what holds and where it came from. It reads the struct
// given to Load, which must not change afterwards; then it is safe for concurrent use.
type Loaded struct {
	root    *node
	value   reflect.Value
	origins map[string]Origin // by joined key; no entry for a default
	files   []string
	useless Problems
}

// Useless are variables of the environment that were meant for a key, by all appearances,
// and set nothing.
func (l *Loaded) Useless() Problems { return slices.Clone(l.useless) }

// Origin says where the value of a dotted key came from. A key that no source set,
// also one that does not exist, has its default.
func (l *Loaded) Origin(key string) Origin {
	if path, err := splitKey(key); err == nil {
		if o, ok := l.origins[joinKey(path)]; ok {
			return o
		}
	}
	return Origin{Source: FromDefault}
}

// Get returns the effective value of a dotted key as TOML would give it: string, bool,
// int64, uint64, float64 or []any, a duration as text. A secret is "[redacted]", or ""
// if it is not set. It is false for a section and for a key that does not exist.
func (l *Loaded) Get(key string) (any, bool) {
	value, ok := l.plain(key)
	if !ok {
		return nil, false
	}
	n, _ := l.node(key)
	return n.shown(value), true
}

// plain is Get with secrets in clear.
func (l *Loaded) plain(key string) (any, bool) {
	path, err := splitKey(key)
	if err != nil {
		return nil, false
	}
	n, v := l.root, l.value
	for _, name := range path {
		next := n.child(name)
		if next == nil {
			return nil, false
		}
		if n.form == formEntries {
			v = entry(v, name)
		} else {
			v = v.Field(next.index)
		}
		if n = next; !v.IsValid() {
			return nil, false
		}
	}
	if !n.isValue() {
		return nil, false
	}
	return n.plain(v), true
}

// Default returns the default of a dotted key as Get returns its value. It is false for
// what is in no struct: a section, the content of an entry, a key that does not exist.
func (l *Loaded) Default(key string) (any, bool) {
	n, named := l.node(key)
	if n == nil || named || !n.isValue() {
		return nil, false
	}
	return n.shown(n.def), true
}

// Changed reports whether a key has another value than its default. What stands in an
// entry has none.
func (l *Loaded) Changed(key string) bool {
	value, ok := l.Get(key)
	if !ok {
		return false
	}
	def, ok := l.Default(key)
	return !ok && l.Origin(key).Source != FromDefault || ok && !reflect.DeepEqual(def, value)
}

// IsLive reports whether a change of a dotted key counts without a restart.
func (l *Loaded) IsLive(key string) bool {
	n, _ := l.node(key)
	return n != nil && n.live
}

// node finds what the schema says of a dotted key, nil when it is no key. Named: it is
// within an entry.
func (l *Loaded) node(key string) (n *node, named bool) {
	path, err := splitKey(key)
	if err != nil {
		return nil, false
	}
	n = l.root
	for _, name := range path {
		named = named || n.form == formEntries
		if n = n.child(name); n == nil {
			return nil, false
		}
	}
	return n, named
}

// Choices lists the only values that a dotted key may have, nil where there is no such
// list.
func (l *Loaded) Choices(key string) []string {
	n, _ := l.node(key)
	if n == nil {
		return nil
	}
	if n.typ.Kind() == reflect.Bool {
		return []string{"true", "false"}
	}
	return slices.Clone(n.bounds.oneof)
}

// shown hides a secret that is set.
func (n *node) shown(value any) any {
	switch {
	case !n.secret:
		return value
	case isZero(value):
		return ""
	}
	return redacted
}

// Keys lists every key that has a value, in the order of the struct; the entries of
// a map by name.
func (l *Loaded) Keys() []string {
	return l.root.keys(l.value, nil)
}

func (n *node) keys(v reflect.Value, path []string) []string {
	below := func(name string) []string { return append(path[:len(path):len(path)], name) }
	var keys []string
	switch n.form {
	case formSection:
		for _, f := range n.fields {
			keys = append(keys, f.keys(v.Field(f.index), below(f.name))...)
		}
	case formEntries:
		for _, name := range entryNames(v) {
			keys = append(keys, n.elem.keys(entry(v, name), below(name))...)
		}
	default:
		keys = append(keys, joinKey(path))
	}
	return keys
}

// Files lists the files that were there and were read, in the order of merging.
func (l *Loaded) Files() []string { return slices.Clone(l.files) }
