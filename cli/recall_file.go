// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
)

// An export is lines of JSON: a header, then one fact a line, as bus.RecallEntry.

// exportHeader is the first line.
type exportHeader struct {
	Schema string    `json:"schema"`
	Made   time.Time `json:"made"`
}

const maxFactLine = 64 << 10 // bytes; a fact with every character escaped has less

// factReader reads an export, one fact after another.
type factReader struct {
	lines *bufio.Reader
	line  int // number of the last one that was read
}

// newFactReader reads the header.
func newFactReader(r io.Reader) (*factReader, error) {
	f := &factReader{lines: bufio.NewReaderSize(r, maxFactLine)}
	text, err := f.next()
	if errors.Is(err, io.EOF) {
		return nil, fail(exitFailed, "`blufio recall export` makes one", "it is empty, and no export of facts")
	}
	if err != nil {
		return nil, err
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if json.Unmarshal(text, &head) != nil || !strings.HasPrefix(head.Schema, "blufio.recall/") {
		return nil, fail(exitFailed, "`blufio recall export` makes one", "line 1: it is no export of facts")
	}
	if head.Schema != recallSchema {
		return nil, fail(exitFailed, "take a newer blufio", "line 1: it is %.40q, and this program reads %s", head.Schema, recallSchema)
	}
	return f, nil
}

// next returns the next line that is not empty.
func (f *factReader) next() ([]byte, error) {
	for {
		text, err := f.lines.ReadSlice('\n')
		f.line++
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fail(exitFailed, "", "line %d: it is longer than %s", f.line, size(maxFactLine))
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read line %d: %w", f.line, err)
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
		if err != nil {
			return nil, io.EOF
		}
	}
}

// read returns the next fact; io.EOF when there is none.
func (f *factReader) read() (e bus.RecallEntry, err error) {
	text, err := f.next()
	if err != nil {
		return e, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e, f.broken("it is no fact: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return e, f.broken("something stands behind the fact")
	}
	if !utf8.Valid(text) {
		return e, f.broken("it is not valid UTF-8")
	}
	return e, f.check(e)
}

// check refuses what the daemon would refuse, without a word of which line it was.
func (f *factReader) check(e bus.RecallEntry) error {
	switch {
	case e.ID == "" || len(e.ID) > bus.RecallMaxID:
		return f.broken("the id has %d bytes, and needs 1 to %d", len(e.ID), bus.RecallMaxID)
	case e.Owner == "" || len(e.Owner) > bus.RecallMaxID:
		return f.broken("the owner has %d bytes, and needs 1 to %d", len(e.Owner), bus.RecallMaxID)
	case strings.TrimSpace(e.Text) == "" || len(e.Text) > bus.RecallMaxText:
		return f.broken("the text has %d bytes, and needs 1 to %d", len(e.Text), bus.RecallMaxText)
	case len(e.About) > bus.RecallMaxAbout:
		return f.broken("what it is about has %d bytes; at most %d are taken", len(e.About), bus.RecallMaxAbout)
	case !slices.Contains(factSources, e.Source):
		return f.broken("there is no source %.40q", e.Source)
	case !(e.Importance >= 0 && e.Importance <= 1):
		return f.broken("the importance must be 0 to 1")
	case e.At.IsZero() || e.At.Year() < 1970 || e.At.Year() > 9999:
		return f.broken("it has no time")
	case e.Seen < 1 || e.Seen > 1<<30:
		return f.broken("it was said %d times", e.Seen)
	case len(e.SupersededBy) > bus.RecallMaxID:
		return f.broken("superseded_by is too long")
	}
	return nil
}

func (f *factReader) broken(format string, args ...any) error {
	return fail(exitFailed, "", "line %d: "+format, append([]any{f.line}, args...)...)
}

// factBytes is what a fact takes of a batch.
func factBytes(e bus.RecallEntry) int {
	data, err := json.Marshal(e)
	if err != nil {
		return bus.RecallMaxText // check has seen to it that it does not fail
	}
	return len(data)
}

// givenTo makes a fact another person's. Its id becomes another too, for the first
// person may keep it; the same file gives the same ids again.
func givenTo(e bus.RecallEntry, owner string) bus.RecallEntry {
	if owner == "" || e.Owner == owner {
		return e
	}
	e.Owner, e.ID = owner, otherID(e.ID, owner)
	if e.SupersededBy != "" {
		e.SupersededBy = otherID(e.SupersededBy, owner)
	}
	return e
}

func otherID(id, owner string) string {
	sum := sha256.Sum256([]byte(owner + "\x00" + id))
	return "given-" + hex.EncodeToString(sum[:12])
}
