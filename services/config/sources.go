// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// setting is one key as a source gives it.
type setting struct {
	path   []string
	value  any  // a TOML value or a text; of a header nil, or a list for [[x]]
	header bool // a section is opened, no value given
	origin Origin
	prefix string // of environment variables
}

// show writes a key the way the setting's source writes keys.
func (st setting) show(path []string) string {
	if st.origin.Source == FromEnv {
		return st.prefix + strings.ToUpper(strings.Join(path, "__"))
	}
	return named(path)
}

// settings gives what a struct holds, as if it had been written: the default layer.
// Zero values are not set and left out.
func (n *node) settings(v reflect.Value, path []string) []setting {
	origin := Origin{Source: FromDefault}
	below := func(name string) []string { return append(path[:len(path):len(path)], name) }
	var all []setting
	switch {
	case n.form == formSection:
		for _, f := range n.fields {
			all = append(all, f.settings(v.Field(f.index), below(f.name))...)
		}
	case n.form == formEntries:
		for _, name := range entryNames(v) {
			all = append(all, setting{path: below(name), header: !n.elem.isValue(), origin: origin})
			all = append(all, n.elem.settings(entry(v, name), below(name))...)
		}
	default:
		if value := n.plain(v); !isZero(value) {
			all = append(all, setting{path: path, value: value, origin: origin})
		}
	}
	return all
}

// entryNames lists the keys of a map in order.
func entryNames(v reflect.Value) []string {
	names := make([]string, 0, v.Len())
	for _, key := range v.MapKeys() {
		names = append(names, key.String())
	}
	slices.Sort(names)
	return names
}

// entry is the value of a map's key; the zero Value if there is none.
func entry(v reflect.Value, name string) reflect.Value {
	return v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key()))
}

// environment picks our variables, which have a double underscore after the prefix.
func environment(root *node, environ []string, prefix string) []setting {
	if prefix == "" {
		return nil
	}
	var all []setting
	for _, line := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(line, "=")
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || !strings.Contains(rest, "__") {
			continue
		}
		all = append(all, setting{
			path:   envPath(root, rest),
			value:  text(value),
			origin: Origin{Source: FromEnv, Name: name},
			prefix: prefix,
		})
	}
	return all
}

// misspelt finds variables that look like ours and set nothing, for one underscore stands
// where two have to: BLUFIO_GATEWAY_LISTEN.
func misspelt(root *node, environ []string, prefix string) (found Problems) {
	if prefix == "" {
		return nil
	}
	for _, line := range slices.Sorted(slices.Values(environ)) {
		name, _, _ := strings.Cut(line, "=")
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || strings.Contains(rest, "__") {
			continue
		}
		for i := range rest {
			if rest[i] != '_' {
				continue
			}
			path := []string{strings.ToLower(rest[:i]), strings.ToLower(rest[i+1:])}
			if n, known := root.find(path); known == len(path) && n.isValue() {
				found = append(found, Problem{Key: joinKey(path), Origin: Origin{Source: FromEnv, Name: name}, Message: "it sets nothing",
					Hint: "did you mean " + prefix + rest[:i] + "__" + rest[i+1:] + "?"})
				break
			}
		}
	}
	return found
}

// envPath translates the rest of a variable's name. Entry names are taken as they
// are, everything else is lower case.
func envPath(root *node, rest string) []string {
	path := strings.Split(rest, "__")
	n := root
	for i := range path {
		if n == nil || n.form != formEntries {
			path[i] = strings.ToLower(path[i])
		}
		if n != nil {
			n = n.child(path[i])
		}
	}
	return path
}

// flags turns the flags the owner gave into settings. A key that cannot be split is
// taken as one name, which the schema will not know.
func flags(given map[string]string) []setting {
	var all []setting
	for _, key := range slices.Sorted(maps.Keys(given)) {
		path, err := splitKey(key)
		if err != nil {
			path = []string{key}
		}
		all = append(all, setting{path: path, value: text(given[key]), origin: Origin{Source: FromFlag, Name: key}})
	}
	return all
}
