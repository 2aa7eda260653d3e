// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"

	"github.com/blufio/blufio/services/internal/clip"
	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// maxProblems bounds what one Load reports; the rest is only counted.
const maxProblems = 100

// Sources is where a configuration comes from, besides its defaults.
type Sources struct {
	Files    []string          // TOML, merged in order; a missing one is skipped
	Required bool              // a missing file is a problem: the owner named it
	Environ  []string          // as os.Environ gives it
	Prefix   string            // of the variables that are ours, "BLUFIO_"; "" reads none
	Flags    map[string]string // "gateway.listen" → value
}

// Load fills into, a pointer to a struct that holds the defaults. The error is
// Problems, with everything the owner has to mend, or tells of a mistake in the struct
// itself. After Problems the struct and Loaded hold what was not refused: enough to look
// for more that is wrong, and not to be used.
func Load(into any, s Sources) (*Loaded, error) {
	if v := reflect.ValueOf(into); v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, fmt.Errorf("load configuration: %T is not a pointer to a struct", into)
	}
	root, err := newSchema(into)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	l := &loader{
		root:    root,
		merged:  koanf.New("."), // the delimiter is never used: keys stay nested
		refused: map[string]bool{},
		loaded:  &Loaded{root: root, value: reflect.ValueOf(into).Elem(), origins: map[string]Origin{}},
	}
	l.layer(root.settings(l.loaded.value, nil))
	for _, name := range s.Files {
		l.file(name, s.Required)
	}
	l.layer(environment(root, s.Environ, s.Prefix))
	l.loaded.useless = misspelt(root, s.Environ, s.Prefix)
	l.layer(flags(s.Flags))
	if err := l.decode(into); err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	l.check(l.loaded.value, root, nil)
	if len(l.problems) > 0 {
		return l.loaded, l.report(s.Files)
	}
	return l.loaded, nil
}

// loader is one Load at work.
type loader struct {
	root     *node
	merged   *koanf.Koanf
	loaded   *Loaded
	problems Problems
	refused  map[string]bool // keys with a problem, whatever the source
}

func (l *loader) file(name string, required bool) {
	data, problem := readFile(name)
	if problem != nil {
		if required || !errors.Is(problem.cause, fs.ErrNotExist) {
			l.problems = append(l.problems, *problem)
		}
		return
	}
	l.loaded.files = append(l.loaded.files, name)
	settings, problem := scanTOML(name, data)
	if problem != nil {
		l.problems = append(l.problems, *problem)
		return
	}
	l.layer(settings)
}

// layer admits the settings of one source and merges them over what came before.
// Below a key that was refused nothing more is said about the same source.
func (l *loader) layer(settings []setting) {
	values := map[string]any{}
	refused := map[string]bool{}
	for _, st := range settings {
		if under(refused, st.path) {
			continue
		}
		value, problem := l.admit(st)
		if problem != nil {
			refused[problem.Key], l.refused[problem.Key] = true, true
			l.problems = append(l.problems, *problem)
			continue
		}
		put(values, st.path, value)
		if st.origin.Source != FromDefault {
			l.loaded.origins[joinKey(st.path)] = st.origin
		}
	}
	// confmap and a merge without a custom function have no errors to return.
	_ = l.merged.Load(confmap.Provider(values, ""), nil)
}

// under reports whether a beginning of path, or all of it, was refused before.
func under(refused map[string]bool, path []string) bool {
	if len(refused) == 0 {
		return false
	}
	for i := range min(len(path), maxDepth+1) {
		if refused[joinKey(path[:i+1])] {
			return true
		}
	}
	return false
}

// put stores value in nested maps; nil only makes sure that the section is there.
func put(values map[string]any, path []string, value any) {
	for i, part := range path {
		if i == len(path)-1 && value != nil {
			values[part] = value
			return
		}
		next, ok := values[part].(map[string]any)
		if !ok {
			next = map[string]any{}
			values[part] = next
		}
		values = next
	}
}

// admit holds one setting against the schema and gives its plain value, nil for a
// section header.
func (l *loader) admit(st setting) (any, *Problem) {
	refuse := func(path []string, message, hint string) (any, *Problem) {
		return nil, &Problem{Key: joinKey(path), Origin: st.origin, Message: message, Hint: hint}
	}
	n, at := l.root.find(st.path)
	switch {
	case at < len(st.path) && n.isValue():
		return refuse(st.path[:at], named(st.path[:at])+" is a value, not a section", "it wants "+n.wants()+" such as "+n.example())
	case at < len(st.path):
		message, hint := l.unknown(n, at, st)
		return refuse(st.path[:at+1], message, hint)
	case st.header && st.value != nil && !n.isValue():
		return refuse(st.path, named(st.path)+" is one section, not a list of them", "write ["+joinKey(st.path)+"]")
	case st.header && n.isValue():
		return refuse(st.path, named(st.path)+" is a value, not a section", "it wants "+n.wants()+" such as "+n.example())
	case st.header:
		return nil, nil
	case !n.isValue():
		return refuse(st.path, named(st.path)+" is a section, not a value", "")
	}
	value, err := n.coerce(st.value)
	if err != nil {
		hint := ""
		if h := (hinted{}); errors.As(err, &h) {
			hint = h.hint
		}
		return refuse(st.path, named(st.path)+" "+err.Error(), hint)
	}
	return value, nil
}

// unknown words the problem of a path whose part at means nothing below n.
func (l *loader) unknown(n *node, at int, st setting) (message, hint string) {
	path := slices.Clone(st.path)
	path[at] = clip.Marked(path[at], maxShown)
	if n.form == formEntries {
		return "the name of an entry of " + named(path[:at]) + " is empty or cannot be printed", ""
	}
	what := "key"
	if st.header || at < len(path)-1 {
		what = "section"
	}
	if len(l.problems) < maxProblems { // it takes time, and the others are not shown
		hint = n.advise(l.root, st.path, at, st.show)
	}
	return "unknown " + what + " " + named(path[:at+1]), hint
}

// decode lets koanf fill the struct from the merged layers. All values have been
// admitted, so an error here is a type that does not read back what it writes.
func (l *loader) decode(into any) error {
	return l.merged.UnmarshalWithConf("", into, koanf.UnmarshalConf{
		DecoderConfig: &mapstructure.DecoderConfig{
			TagName:     "koanf",
			ErrorUnused: true,
			ZeroFields:  true, // lists and maps are made anew, never written through
			DecodeHook:  decodeText,
		},
	})
}

// decodeText reads the types that are written as text.
func decodeText(_, to reflect.Type, data any) (any, error) {
	s, ok := data.(string)
	if !ok {
		return data, nil
	}
	if formOf(to) == formDuration {
		return ParseDuration(s)
	}
	p := reflect.New(to)
	t, ok := p.Interface().(encoding.TextUnmarshaler)
	if !ok {
		return data, nil
	}
	if err := t.UnmarshalText([]byte(s)); err != nil {
		return nil, err
	}
	return p.Elem().Interface(), nil
}

// report sorts the problems and cuts an endless list short.
func (l *loader) report(files []string) Problems {
	l.problems.sort(files)
	if more := len(l.problems) - maxProblems; more > 0 {
		l.problems = append(l.problems[:maxProblems], Problem{
			Origin:  l.problems[maxProblems].Origin,
			Message: fmt.Sprintf("%d more problems", more),
		})
	}
	return l.problems
}
