// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// frame hands exactly one zstd frame on to the decoder, which would read on through any
// number of them, and hashes it. It knows as much of RFC 8878 as that takes, and refuses a frame
// whose window is larger than ours before memory is made for it.
type frame struct {
	r    *bufio.Reader
	sum  hash.Hash
	left int // bytes of the piece that is being handed on
	next func() error
}

// maxWindow bounds the decoder's memory.
const maxWindow = 1 << 20

const frameMagic = "\x28\xb5\x2f\xfd"

func newFrame(r *bufio.Reader) *frame {
	f := &frame{r: r, sum: sha256.New()}
	f.next = f.header
	return f
}

func (f *frame) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.sum.Write(p[:n])
	f.left -= n
	return n, cutOff(err)
}

// header finds out how long the frame's header is and whether it is one that we write.
func (f *frame) header() error {
	begin, err := f.r.Peek(6)
	switch {
	case len(begin) == 0 && errors.Is(err, io.EOF):
		return fmt.Errorf("%w: the file is empty", ErrNotArchive)
	case !bytes.HasPrefix(begin, []byte(frameMagic)[:min(len(begin), len(frameMagic))]):
		return fmt.Errorf("%w: it is not compressed with zstd", ErrNotArchive)
	case err != nil:
		return cutOff(err)
	}
	flags := begin[4]
	single, checksum := flags&0x20 != 0, flags&0x04 != 0
	if flags&0x1b != 0 || !checksum { // a dictionary, bits without a meaning
		return fmt.Errorf("%w: its compression has settings that blufio does not use", ErrNotArchive)
	}
	sizeBytes := []int{0, 2, 4, 8}[flags>>6]
	f.left = 6 + sizeBytes // magic, flags, window, size of the content
	if single {
		if f.left--; sizeBytes == 0 {
			f.left++
			sizeBytes = 1
		}
	}
	size, err := f.windowSize(begin[5], single, sizeBytes)
	if err != nil {
		return err
	}
	if size > maxWindow {
		return fmt.Errorf("%w: reading it would take %d bytes of memory", ErrNotArchive, size)
	}
	f.next = f.block
	return nil
}

// windowSize is what the decoder has to remember.
func (f *frame) windowSize(descriptor byte, single bool, sizeBytes int) (uint64, error) {
	if !single {
		base := uint64(1) << (10 + descriptor>>3)
		return base + base/8*uint64(descriptor&7), nil
	}
	begin, err := f.r.Peek(5 + sizeBytes)
	if err != nil {
		return 0, cutOff(err)
	}
	var field [8]byte
	copy(field[:], begin[5:])
	size := binary.LittleEndian.Uint64(field[:])
	if sizeBytes == 2 {
		size += 256
	}
	return size, nil
}

func (f *frame) block() error {
	begin, err := f.r.Peek(3)
	if err != nil {
		return cutOff(err)
	}
	header := int(begin[0]) | int(begin[1])<<8 | int(begin[2])<<16
	last, kind, size := header&1 != 0, header>>1&3, header>>3
	f.left = 3 + size
	if kind == 1 { // one byte, many times
		f.left = 3 + 1
	}
	if last {
		f.next = f.checksum
	}
	return nil
}

func (f *frame) checksum() error {
	f.left = 4
	f.next = func() error { return io.EOF }
	return nil
}

// end proves that the seal follows, and nothing after it.
func (f *frame) end() error {
	got := make([]byte, sealBytes)
	if _, err := io.ReadFull(f.r, got); err != nil {
		return cutOff(err)
	}
	if !bytes.Equal(got, seal(f.sum.Sum(nil))) {
		return fmt.Errorf("%w: the seal does not fit what it seals", ErrDamaged)
	}
	switch _, err := f.r.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// cutOff turns the end of the file, where it must not be, into an error.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut off", ErrDamaged)
	}
	return err
}
