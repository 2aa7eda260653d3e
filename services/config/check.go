// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"reflect"
)

// Checker is a section that checks what no tag can say. Check calls report once for
// each problem with a key relative to the section ("listen", "" for the section
// itself), a message and a hint, which may be empty. Load puts the full key and a colon
// before the message, and adds where the key was set, or else where its section is.
type Checker interface {
	Check(report func(key, message, hint string))
}

// Validator is a value or a section that can tell whether it is valid.
type Validator interface {
	Validate() error
}

// FileChecker is a section that names files, and can tell whether they are of use. It is
// not asked by Load, for who looks at a configuration is not always who may read them.
// Below report it is as [Checker]; err is the cause.
type FileChecker interface {
	CheckFiles(report func(key string, err error, hint string))
}

// CheckFiles asks every section that names files. What it finds is a Problem like those
// of Load, with the cause from the file system behind it.
func (l *Loaded) CheckFiles() Problems {
	c := &loader{root: l.root, loaded: l}
	walk(l.value, l.root, nil, func(section any, n *node, path []string) {
		if f, ok := section.(FileChecker); ok && n.form == formSection {
			f.CheckFiles(func(key string, err error, hint string) {
				c.complain(path, key, err.Error(), hint)
				c.problems[len(c.problems)-1].cause = err
			})
		}
	})
	c.problems.sort(l.files)
	return c.problems
}

// check asks every section, entry and value below v what it thinks of itself.
func (l *loader) check(v reflect.Value, n *node, path []string) {
	walk(v, n, path, func(ask any, n *node, path []string) {
		if c, ok := ask.(Checker); ok && n.form == formSection {
			c.Check(func(key, message, hint string) { l.complain(path, key, message, hint) })
		}
		if c, ok := ask.(Validator); ok {
			if err := c.Validate(); err != nil {
				l.complain(path, "", err.Error(), "")
			}
		}
	})
}

// walk calls visit with v and everything below it, by pointers.
func walk(v reflect.Value, n *node, path []string, visit func(any, *node, []string)) {
	visit(addressable(v).Addr().Interface(), n, path)
	switch n.form {
	case formSection:
		for _, f := range n.fields {
			walk(v.Field(f.index), f, append(path[:len(path):len(path)], f.name), visit)
		}
	case formEntries:
		for _, name := range entryNames(v) {
			walk(entry(v, name), n.elem, append(path[:len(path):len(path)], name), visit)
		}
	}
}

// addressable returns v, or a copy of it if it is the value of a map.
func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	p := reflect.New(v.Type()).Elem()
	p.Set(v)
	return p
}

// complain notes what a section said, unless its key was refused already: then the
// struct holds something else than the owner wrote.
func (l *loader) complain(path []string, key, message, hint string) {
	if key != "" {
		relative, err := splitKey(key)
		if err != nil {
			relative = []string{key}
		}
		path = append(path[:len(path):len(path)], relative...)
	}
	full := joinKey(path)
	if l.refused[full] {
		return
	}
	if full != "" {
		message = named(path) + ": " + message
	}
	l.problems = append(l.problems, Problem{Key: full, Origin: l.whence(path), Message: message, Hint: hint})
}

// whence is where a key was set, or else the section around it.
func (l *loader) whence(path []string) Origin {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if o, ok := l.loaded.origins[joinKey(path)]; ok {
			return o
		}
	}
	return Origin{Source: FromDefault}
}
