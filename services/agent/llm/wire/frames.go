// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxFrame bounds one frame of the stream, in bytes. Real ones have some hundred.
const MaxFrame = 1 << 20

// ErrMalformed marks a stream that is not what the vendor documents.
var ErrMalformed = errors.New("malformed stream")

// Frames cuts a stream of server-sent events (WHATWG HTML, section 9.2) into its
// events. Of their fields only event and data matter here; comments, which some
// servers send to keep a connection open, are passed over.
type Frames struct {
	lines *bufio.Scanner
	last  string
	data  []byte
}

// Frame is one event of the stream.
type Frame struct {
	Event string // its name, "" for none
	Data  []byte
}

// NewFrames reads from r. last is the data, if any, behind which nothing comes:
// its end is not waited for.
func NewFrames(r io.Reader, last string) *Frames {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4<<10), MaxFrame)
	s.Split(scanLines)
	return &Frames{lines: s, last: last}
}

// Next returns the next event that has data, valid until the next call, or
// io.EOF. An event that the end of the stream cuts off is not returned.
func (f *Frames) Next() (Frame, error) {
	f.data = f.data[:0]
	var event string
	filled := false
	for f.lines.Scan() {
		line := f.lines.Bytes()
		if len(line) == 0 {
			if filled {
				return Frame{event, f.data}, nil
			}
			event = ""
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		if string(name) == "event" {
			event = string(value)
		}
		if string(name) != "data" {
			continue
		}
		if len(f.data)+len(value) > MaxFrame {
			return Frame{}, fmt.Errorf("%w: a frame is longer than %d bytes", ErrMalformed, MaxFrame)
		}
		if filled {
			f.data = append(f.data, '\n')
		}
		f.data, filled = append(f.data, value...), true
		if f.last != "" && string(f.data) == f.last {
			return Frame{event, f.data}, nil
		}
	}
	if errors.Is(f.lines.Err(), bufio.ErrTooLong) {
		return Frame{}, fmt.Errorf("%w: a line is longer than %d bytes", ErrMalformed, MaxFrame)
	}
	if err := f.lines.Err(); err != nil {
		return Frame{}, err
	}
	return Frame{}, io.EOF
}

// scanLines cuts at "\n", "\r\n" and "\r". A last line without an end is cut off
// by the end of the stream, so it is none.
func scanLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0 && atEOF:
		return len(data), nil, nil
	case i < 0:
		return 0, nil, nil
	case data[i] == '\n':
		return i + 1, data[:i], nil
	case i+1 < len(data) && data[i+1] == '\n':
		return i + 2, data[:i], nil
	case i+1 == len(data) && !atEOF:
		return 0, nil, nil // "\r" alone, or the first half of "\r\n"
	}
	return i + 1, data[:i], nil
}
