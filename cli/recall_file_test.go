// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

const (
	exportHead = `{"schema":"blufio.recall/1","made":"2026-07-15T12:00:00Z"}` + "\n"
	exportFact = `{"id":"a","owner":"me","text":"the boiler code is 4711","about":"boiler code","source":"person","importance":0.8,"at":"2026-07-15T12:00:00Z","seen":1}`
)

// readAll reads an export to its end.
func readExport(text string) (all []bus.RecallEntry, err error) {
	f, err := newFactReader(strings.NewReader(text))
	for err == nil {
		var e bus.RecallEntry
		if e, err = f.read(); err == nil {
			all = append(all, e)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return all, err
}

func TestReadExport(t *testing.T) {
	edit := func(old, new string) string { return strings.Replace(exportFact, old, new, 1) }
	for name, c := range map[string]struct {
		text string
		n    int
		want string // in the error
	}{
		"two facts":       {exportHead + exportFact + "\n" + exportFact + "\n", 2, ""},
		"no last newline": {exportHead + exportFact, 1, ""},
		"empty lines":     {exportHead + "\n \n" + exportFact + "\n\n", 1, ""},
		"header alone":    {exportHead, 0, ""},
		"nothing":         {"", 0, "no export"},
		"another file":    {"hello\n", 0, "line 1: it is no export"},
		"no header":       {exportFact, 0, "line 1: it is no export"},
		"newer":           {`{"schema":"blufio.recall/2"}`, 0, `line 1: it is "blufio.recall/2"`},
		"broken":          {exportHead + exportFact + "\n\n" + exportFact[:20] + "\n" + exportFact, 1, "line 4: it is no fact"},
		"unknown field":   {exportHead + edit(`"seen"`, `"saw":1,"seen"`), 0, "line 2: it is no fact"},
		"two on a line":   {exportHead + exportFact + exportFact, 0, "line 2: something stands behind"},
		"no id":           {exportHead + edit(`"a"`, `""`), 0, "line 2: the id"},
		"no owner":        {exportHead + edit(`"me"`, `""`), 0, "line 2: the owner"},
		"no text":         {exportHead + edit("the boiler code is 4711", " "), 0, "line 2: the text"},
		"long text":       {exportHead + edit("4711", strings.Repeat("x", 4097)), 0, "line 2: the text"},
		"strange source":  {exportHead + edit("person", "gods"), 0, "line 2: there is no source"},
		"heavy":           {exportHead + edit("0.8", "1.1"), 0, "line 2: the importance"},
		"no time":         {exportHead + edit("2026-07-15T12:00:00Z", "0001-01-01T00:00:00Z"), 0, "line 2: it has no time"},
		"never said":      {exportHead + edit(`"seen":1`, `"seen":0`), 0, "line 2: it was said 0 times"},
		"endless line":    {exportHead + strings.Repeat("x", 70<<10), 0, "line 2: it is longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := readExport(c.text)
			if len(all) != c.n || c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d facts, %v; want %d, %q", len(all), err, c.n, c.want)
			}
		})
	}
}

// What is given to another person twice has the same ids, and history still fits.
func TestFactsAreGiven(t *testing.T) {
	e := bus.RecallEntry{ID: "old", Owner: "ann", SupersededBy: "new"}
	got := givenTo(e, "me")
	if again := givenTo(e, "me"); got != again || got.Owner != "me" || got.ID == "old" || got.SupersededBy != givenTo(bus.RecallEntry{ID: "new", Owner: "ann"}, "me").ID {
		t.Errorf("%+v", got)
	}
	if got.ID == givenTo(e, "you").ID {
		t.Error("two people have a fact of the same id")
	}
	if same := givenTo(e, "ann"); same != e || givenTo(e, "") != e {
		t.Errorf("%+v", same)
	}
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		text, query string
		want        bool
	}{{"The boiler's code is 4711", "BOILER code", true}, {"the boiler", "boiler code", false}, {"boilers", "boiler", false}, {"Öl 5W-30", "öl 30", true}} {
		if got := holds(c.text, c.query); got != c.want {
			t.Errorf("%q in %q: %v", c.query, c.text, got)
		}
	}
}

// Whatever is read, it is a fact that the daemon takes, or an error that names the line.
func FuzzReadExport(f *testing.F) {
	for _, s := range []string{"", exportHead, exportHead + exportFact, exportHead + exportFact + "\nx", exportFact, exportHead + "{}", exportHead + `{"at":"x"}`, exportHead + "\xff", exportHead + "null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readExport(text)
		if err != nil && !strings.Contains(err.Error(), "line ") && !strings.Contains(err.Error(), "no export") {
			t.Errorf("%v", err)
		}
		for _, e := range all {
			if e.ID == "" || e.Owner == "" || len(e.Text) > bus.RecallMaxText || !(e.Importance >= 0 && e.Importance <= 1) || factBytes(e) > bus.RecallPageBytes {
				t.Errorf("%+v", e)
			}
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
		}
	})
}
