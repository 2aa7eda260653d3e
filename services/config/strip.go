// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Stripped returns a configuration file with the value of every secret emptied, and the
// keys of those. So a copy of the file may lie where the secrets may not.
//
// What counts is the name: a key is emptied whose last word is that of a secret, wherever
// it stands, also in a comment, for a line that was commented out still has its value. The
// text of an emptied secret is taken out of the rest of the file, too. What cannot be read
// as TOML is not returned, for nobody knows what stands in it.
func Stripped(defaults any, data []byte) (clean []byte, keys []string, err error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if _, p := scanTOML("", data); p != nil {
		return nil, nil, fmt.Errorf("line %d: %s", p.Origin.Line, p.Message)
	}
	s := stripper{data: data, names: secretNames(defaults), keys: map[string]bool{}}
	s.p.Reset(data)
	var table []string
	for s.p.NextExpression() {
		switch e := s.p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = keyPath(nil, e)
		case unstable.KeyValue:
			s.keyValue(table, e)
		}
	}
	if err := s.p.Error(); err != nil {
		return nil, nil, err
	}
	return s.finish()
}

// secretNames are the last words of all keys that hold secrets.
func secretNames(defaults any) map[string]bool {
	names := map[string]bool{}
	root, _ := newSchema(defaults) // usable even with an error
	root.walk(nil, func(path []string, n *node) {
		if n.secret {
			names[path[len(path)-1]] = true
		}
	})
	return names
}

// stripper goes over one file.
type stripper struct {
	p     unstable.Parser
	data  []byte
	names map[string]bool
	cuts  []cut
	texts []string // of the secrets that were met
	keys  map[string]bool
}

// cut is a value that is replaced by "".
type cut struct{ from, to int }

func keyPath(table []string, e *unstable.Node) []string {
	path := append([]string(nil), table...)
	for it := e.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
	}
	return path
}

// keyValue empties one assignment, or those inside an inline table. A value is all that
// stands behind the "=".
func (s *stripper) keyValue(table []string, e *unstable.Node) {
	path, v := keyPath(table, e), e.Value()
	if s.names[path[len(path)-1]] {
		s.keys[joinKey(path)] = true
		s.remember(v)
		s.cuts = append(s.cuts, s.valueOf(e))
		return
	}
	s.within(path, v)
}

// within looks for assignments in a value.
func (s *stripper) within(path []string, v *unstable.Node) {
	if v.Kind != unstable.InlineTable && v.Kind != unstable.Array {
		return
	}
	for it := v.Children(); it.Next(); {
		if n := it.Node(); n.Kind == unstable.KeyValue {
			s.keyValue(path, n)
		} else {
			s.within(path, n)
		}
	}
}

// valueOf is where the value of an assignment stands. Its key ends where its last word
// does; the parser does not say where a list ends, but where the assignment does.
func (s *stripper) valueOf(e *unstable.Node) cut {
	var key unstable.Range
	for it := e.Key(); it.Next(); {
		key = it.Node().Raw
	}
	end := int(e.Raw.Offset + e.Raw.Length)
	from := int(key.Offset + key.Length)
	from += bytes.IndexByte(s.data[from:end], '=') + 1
	for from < end && (s.data[from] == ' ' || s.data[from] == '\t') {
		from++
	}
	for end > from && (s.data[end-1] == ' ' || s.data[end-1] == '\t') {
		end--
	}
	return cut{from, end}
}

// remember notes the texts in a value, to find them elsewhere in the file.
func (s *stripper) remember(v *unstable.Node) {
	if v.Kind == unstable.String && len(v.Data) >= minRedacted {
		s.texts = append(s.texts, string(v.Data))
	}
	for it := v.Children(); it.Next(); {
		s.remember(it.Node())
	}
}

func (s *stripper) finish() ([]byte, []string, error) {
	var out []byte
	at := 0
	for _, c := range s.cuts {
		out = append(append(out, s.data[at:c.from]...), `""`...)
		at = c.to
	}
	out = append(out, s.data[at:]...)
	for _, text := range s.texts {
		out = bytes.ReplaceAll(out, []byte(text), []byte(redacted))
	}
	out = s.comments(out)
	if _, p := scanTOML("", out); p != nil { // a mistake of ours: rather nothing than half
		return nil, nil, fmt.Errorf("without its secrets: line %d: %s", p.Origin.Line, p.Message)
	}
	return out, slices.Sorted(maps.Keys(s.keys)), nil
}

// comments empties assignments that were commented out.
func (s *stripper) comments(data []byte) []byte {
	if len(s.names) == 0 {
		return data
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.names)) {
		names = append(names, regexp.QuoteMeta(name))
	}
	line := regexp.MustCompile(`(?m)^([ \t]*#[^\n]*\b(?:` + strings.Join(names, "|") + `)["']?[ \t]*=)[ \t]*([^\s][^\n]*)$`)
	return line.ReplaceAllFunc(data, func(l []byte) []byte {
		m := line.FindSubmatch(l)
		if value := strings.TrimSpace(string(m[2])); value == `""` || value == "''" {
			return l
		}
		s.keys["a comment"] = true
		return append(append([]byte(nil), m[1]...), ` ""`...)
	})
}
