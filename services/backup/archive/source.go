// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"errors"
	"io"
	"runtime"
)

// source is what bytes come from. It ends with its context and remembers its own
// error, so that a disk's failure is not taken for damage of the archive.
type source struct {
	ctx      context.Context
	r        io.Reader
	err      error
	done     int64
	progress func(done int64)
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = err
		return 0, err
	}
	runtime.Gosched() // hashing a disk's worth is not to hold up who has little to do
	n, err := s.r.Read(p)
	s.done += int64(n)
	if s.progress != nil && n > 0 {
		s.progress(s.done)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
