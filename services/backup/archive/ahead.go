// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"io"
)

// ahead reads and hashes on a goroutine of its own, while what came before is compressed.
type ahead struct {
	bufs [4][]byte
}

func newAhead() *ahead {
	a := new(ahead)
	for i := range a.bufs {
		a.bufs[i] = make([]byte, copySize)
	}
	return a
}

type chunk struct {
	b   []byte
	err error // io.EOF or io.ErrUnexpectedEOF at the end
}

// copy hands all of r to sum and w. When it returns, nothing of it runs any more.
func (a *ahead) copy(w, sum io.Writer, r io.Reader) (n int64, err error) {
	free, full := make(chan []byte, len(a.bufs)), make(chan chunk, len(a.bufs))
	for _, b := range a.bufs {
		free <- b
	}
	go func() {
		defer close(full)
		for b := range free {
			n, err := io.ReadFull(r, b)
			_, _ = sum.Write(b[:n]) // a hash has no errors
			full <- chunk{b[:n], err}
			if err != nil {
				return
			}
		}
	}()
	for c := range full {
		if err != nil {
			continue // what was read before it stopped
		}
		n += int64(len(c.b))
		if _, err = w.Write(c.b); err == nil {
			err = c.err
		}
		if err != nil {
			close(free)
		} else {
			free <- c.b[:copySize]
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // r's end; w has no such error
	}
	return n, err
}
