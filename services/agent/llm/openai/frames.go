// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxFrame bounds one frame of the stream, in bytes. Real ones have some hundred.
const maxFrame = 1 << 20

// errMalformed marks a stream that is not what the vendor documents.
var errMalformed = errors.New("malformed stream")

// frames cuts a stream of server-sent events (WHATWG HTML, section 9.2) into
// their data. Of the fields only data matters here; comments, which some servers
// send to keep a connection open, are passed over.
type frames struct {
	lines *bufio.Scanner
	data  []byte
}

func newFrames(r io.Reader) *frames {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4<<10), maxFrame)
	s.Split(scanLines)
	return &frames{lines: s}
}

// next returns the data of the next event, valid until the next call, or io.EOF.
// An event that the end of the stream cuts off is not returned.
func (f *frames) next() ([]byte, error) {
	f.data = f.data[:0]
	filled := false
	for f.lines.Scan() {
		line := f.lines.Bytes()
		if len(line) == 0 {
			if filled {
				return f.data, nil
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(name) != "data" {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if len(f.data)+len(value) > maxFrame {
			return nil, fmt.Errorf("%w: a frame is longer than %d bytes", errMalformed, maxFrame)
		}
		if filled {
			f.data = append(f.data, '\n')
		}
		f.data, filled = append(f.data, value...), true
		if string(f.data) == done {
			return f.data, nil // nothing follows: do not wait for its empty line
		}
	}
	if errors.Is(f.lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%w: a line is longer than %d bytes", errMalformed, maxFrame)
	}
	if err := f.lines.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
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
