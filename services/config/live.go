// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"slices"
)

// A field with the tag live:"true", or all that is below one, may change while the
// program runs. What is not so marked never reaches who takes a changed configuration:
// it gets a copy made by [TakeLive].

// TakeLive copies the live fields of from into into; both point to structs of one type.
func TakeLive[T any](into, from *T) error {
	root, err := newSchema(into)
	if err != nil {
		return fmt.Errorf("take configuration: %w", err)
	}
	root.takeLive(reflect.ValueOf(into).Elem(), reflect.ValueOf(from).Elem())
	return nil
}

func (n *node) takeLive(into, from reflect.Value) {
	switch {
	case n.live:
		into.Set(from)
	case n.form == formSection:
		for _, f := range n.fields {
			f.takeLive(into.Field(f.index), from.Field(f.index))
		}
	}
}

// LiveKeys lists the keys whose change counts without a restart, a map of entries as
// one.
func LiveKeys(defaults any) []string {
	root, _ := newSchema(defaults) // Undocumented names what cannot be configuration
	var keys []string
	root.liveKeys(nil, &keys)
	return keys
}

func (n *node) liveKeys(path []string, keys *[]string) {
	for _, f := range n.fields {
		at := append(path[:len(path):len(path)], f.name)
		if f.live && f.form != formSection {
			*keys = append(*keys, joinKey(at))
			continue
		}
		f.liveKeys(at, keys)
	}
}

// Differences lists the keys whose values are not the same in both, in the order of now.
// It sees also that a secret is another one.
func Differences(was, now *Loaded) []string {
	var changed []string
	keys := now.Keys()
	for _, key := range was.Keys() {
		if _, ok := now.plain(key); !ok && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		a, before := was.plain(key)
		b, after := now.plain(key)
		if before != after || !reflect.DeepEqual(a, b) {
			changed = append(changed, key)
		}
	}
	return changed
}

// Check asks every section of a struct what it thinks of itself, as [Load] does. For
// where values came from it asks l, which may be nil.
func Check(cfg any, l *Loaded) (Problems, error) {
	root, err := newSchema(cfg)
	if err != nil {
		return nil, fmt.Errorf("check configuration: %w", err)
	}
	v := reflect.ValueOf(cfg)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if l == nil {
		l = &Loaded{origins: map[string]Origin{}}
	}
	check := &loader{root: root, loaded: l, refused: map[string]bool{}}
	check.check(v, root, nil)
	check.problems.sort(l.files)
	return check.problems, nil
}

// Effects says of every key and of every map of entries whether its change counts
// without a restart. Secrets are left out: the vault has them, and they count at once.
func Effects(defaults any) map[string]bool {
	root, _ := newSchema(defaults) // Undocumented names what cannot be configuration
	live := map[string]bool{}
	root.walk(nil, func(path []string, n *node) {
		if (n.isValue() || n.form == formEntries) && !n.secret {
			live[joinKey(path)] = n.live
		}
	})
	return live
}
