// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"io"
	"sync"
)

// sheet is what a question is written on. The client may read it again while nobody
// has answered; once somebody does it is thrown away, for an answer may take minutes,
// and the question is in the conversation anyway.
type sheet struct {
	mu   sync.Mutex
	data []byte
	left int // bytes that the latest reader has not read
}

// open begins to read it.
func (s *sheet) open() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = len(s.data)
	return &sheetReader{of: s}, nil
}

// throwAway lets go of the bytes, if all were sent.
func (s *sheet) throwAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		s.data = nil
	}
}

type sheetReader struct {
	of *sheet
	at int
}

// Read implements io.Reader.
func (r *sheetReader) Read(p []byte) (int, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	if r.at >= len(r.of.data) {
		return 0, io.EOF
	}
	n := copy(p, r.of.data[r.at:])
	r.at += n
	r.of.left = len(r.of.data) - r.at
	return n, nil
}

// Close implements io.Closer.
func (r *sheetReader) Close() error { return nil }
