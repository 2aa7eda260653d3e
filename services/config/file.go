// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxFile is the largest configuration file, in bytes.
const maxFile = 1 << 20

// readFile returns the bytes of a configuration file without a byte order mark.
func readFile(name string) ([]byte, *Problem) {
	refuse := func(message, hint string, cause error) *Problem {
		return &Problem{Origin: Origin{Source: FromFile, Name: name}, Message: message, Hint: hint, cause: cause}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, refuse("cannot be opened: "+reason(err), opening(err), err)
	}
	defer f.Close() // only read from: nothing to lose
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, refuse("is a directory", "name the file in it", nil)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, refuse("cannot be read: "+reason(err), "", err)
	}
	if len(data) > maxFile {
		return nil, refuse(fmt.Sprintf("is larger than %d bytes", maxFile), "is it a configuration file?", nil)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil
}

// opening is what to do about a file that cannot be opened.
func opening(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "let this user read it, or run as one who may"
	}
	return "name a file that is there"
}

// reason is the error without the path, which the origin names already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return err.Error()
}

// scanner turns a TOML document into settings in the order they are written. The
// values come from the decoded document; the expressions give the positions.
type scanner struct {
	name     string
	lines    []int // offset of the start of each line
	document map[string]any
	settings []setting
}

// scanTOML reads a whole document or says where its syntax is broken.
func scanTOML(name string, data []byte) ([]setting, *Problem) {
	s := &scanner{name: name, lines: lineStarts(data)}
	if at := firstInvalid(data); at >= 0 {
		return nil, &Problem{Origin: s.at(at), Message: "is not valid UTF-8", Hint: "save the file as UTF-8"}
	}
	if err := toml.Unmarshal(data, &s.document); err != nil {
		return nil, s.syntax(data, err)
	}
	p := &unstable.Parser{}
	p.Reset(data)
	var table []string
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			path, origin := s.key(nil, e)
			table = path
			st := setting{path: path, header: true, origin: origin}
			if e.Kind == unstable.ArrayTable {
				st.value = []any{}
			}
			s.settings = append(s.settings, st)
		case unstable.KeyValue:
			s.keyValue(table, e)
		}
	}
	return s.settings, nil
}

// keyValue notes one assignment, or those inside an inline table.
func (s *scanner) keyValue(table []string, e *unstable.Node) {
	path, origin := s.key(table, e)
	v := e.Value()
	if v.Kind != unstable.InlineTable {
		s.settings = append(s.settings, setting{path: path, value: lookup(s.document, path), origin: origin})
		return
	}
	s.settings = append(s.settings, setting{path: path, header: true, origin: origin})
	for it := v.Children(); it.Next(); {
		s.keyValue(path, it.Node())
	}
}

// key returns the path of an expression below table, and where its key begins. It
// does not follow a path deeper than any schema goes.
func (s *scanner) key(table []string, e *unstable.Node) ([]string, Origin) {
	path := append([]string(nil), table...)
	var origin Origin
	for it := e.Key(); it.Next(); {
		if origin.Source == "" {
			origin = s.at(int(it.Node().Raw.Offset))
		}
		if len(path) <= maxDepth {
			path = append(path, string(it.Node().Data))
		}
	}
	return path, origin
}

// at turns an offset into an origin.
func (s *scanner) at(offset int) Origin {
	line := sort.SearchInts(s.lines, offset+1)
	return Origin{Source: FromFile, Name: s.name, Line: line, Column: offset - s.lines[line-1] + 1}
}

// syntax words an error of the TOML decoder.
func (s *scanner) syntax(data []byte, err error) *Problem {
	p := &Problem{
		Origin:  Origin{Source: FromFile, Name: s.name},
		Message: "not valid TOML: " + strings.TrimPrefix(err.Error(), "toml: "),
	}
	var d *toml.DecodeError
	if errors.As(err, &d) {
		p.Origin.Line, p.Origin.Column = d.Position()
		line, _, _ := bytes.Cut(data[s.lines[p.Origin.Line-1]:], []byte("\n"))
		if _, value, found := bytes.Cut(line, []byte("=")); found && bareWord.Match(value) {
			p.Hint = `is it text? then it needs quotes: "..."`
		}
	}
	return p
}

// bareWord is what stands after "=" when somebody forgot the quotes.
var bareWord = regexp.MustCompile(`^\s*[\pL\d./~_-]`)

func lineStarts(data []byte) []int {
	starts := []int{0}
	for i, b := range data {
		if b == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// firstInvalid is the offset of the first byte that is not UTF-8, or -1.
func firstInvalid(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// lookup follows path through nested tables; nil if it leads elsewhere.
func lookup(document map[string]any, path []string) any {
	var value any = document
	for _, part := range path {
		table, _ := value.(map[string]any)
		value = table[part]
	}
	return value
}
