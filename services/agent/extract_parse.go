// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
)

const (
	maxExtracted      = 20       // facts of one look back
	maxExtractedText  = 1 << 10  // bytes of one; a model that says more has not picked out a fact
	maxExtractedReply = 32 << 10 // bytes of an answer
	mostExtracted     = 0.7      // importance: what a person asked for goes before
)

// extracted is a fact that a model picked out.
type extracted struct {
	Text       string  `json:"text"`
	About      string  `json:"about"`
	Importance float64 `json:"importance"`
}

// parseFacts reads a model's answer: a JSON object a line, or the one word for nothing.
// Anything else makes all of it worthless. A fence around it is forgiven.
func parseFacts(answer string) ([]extracted, error) {
	if len(answer) > maxExtractedReply || !utf8.ValidString(answer) {
		return nil, bus.Errorf(bus.CodeInvalid, "the model's answer is no list of facts: it has %d bytes", len(answer))
	}
	if strings.EqualFold(strings.Trim(strings.TrimSpace(answer), ".!\"'`*"), nothing) {
		return nil, nil
	}
	var out []extracted
	n := 0
	for line := range strings.Lines(answer) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "```") && !strings.Contains(line, "{") {
			continue
		}
		f, err := parseFact(line)
		if err != nil {
			return nil, bus.Errorf(bus.CodeInvalid, "line %d of the model's answer is no fact", n)
		}
		if len(out) < maxExtracted {
			out = append(out, f)
		}
	}
	if n == 0 {
		return nil, bus.Errorf(bus.CodeInvalid, "the model's answer is empty")
	}
	return out, nil
}

var errNoFact = errors.New("no fact")

func parseFact(line string) (f extracted, err error) {
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return f, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return f, errNoFact
	}
	f.Text = strings.Join(strings.FieldsFunc(f.Text, control), " ")
	f.About = strings.Join(strings.FieldsFunc(f.About, control), " ")
	if f.Text == "" || len(f.Text) > maxExtractedText || len(f.About) > bus.RecallMaxAbout || !(f.Importance >= 0 && f.Importance <= 1) {
		return f, errNoFact
	}
	f.Importance *= mostExtracted
	return f, nil
}

// control is what parts words: a fact is one line.
func control(r rune) bool {
	return r <= ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029'
}
