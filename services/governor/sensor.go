// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// sensor is a file of the kernel's that is read every second. It stays open and is
// read from its beginning, where the kernel makes it anew; so a reading allocates
// nothing. After an error it is opened again.
type sensor struct {
	name string
	file fs.File
}

// bufferBytes is more than any of the files has.
const bufferBytes = 16 << 10

// read returns the content, in buf.
func (s *sensor) read(root fs.FS, buf []byte) ([]byte, error) {
	if s.name == "" {
		return nil, fs.ErrNotExist
	}
	if s.file == nil {
		file, err := root.Open(s.name)
		if err != nil {
			return nil, fmt.Errorf("read /%s: %w", s.name, err)
		}
		s.file = file
	}
	at, ok := s.file.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("read /%s: the file cannot be read twice", s.name)
	}
	n, err := at.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		s.close()
		return nil, fmt.Errorf("read /%s: %w", s.name, err)
	}
	return buf[:n], nil
}

// close forgets the file; the next reading opens it.
func (s *sensor) close() {
	if s.file != nil {
		_ = s.file.Close() // it was only read
		s.file = nil
	}
}

// sensors are all of them. They belong to one goroutine.
type sensors struct {
	root     fs.FS
	pageSize int64
	buf      []byte
	group    group

	statm, status, stat, kernel, current, pressure sensor
}

func newSensors(root fs.FS, pageSize int64) *sensors {
	return &sensors{root: root, pageSize: pageSize, buf: make([]byte, bufferBytes)}
}

// aim finds the control group that counts and opens everything anew, for the
// process may have been moved to another one. When not all can be read, the former one
// counts unless what was found has a lower limit.
func (s *sensors) aim() error {
	s.close()
	found, err := findGroup(s.root)
	if was := s.group.limit; err == nil || was == 0 || found.limit > 0 && found.limit < was { // what is not seen for once is still there
		s.group = found
	}
	s.statm.name, s.status.name = statmFile, statusFile
	s.stat.name, s.kernel.name, s.current.name, s.pressure.name = "", "", "", s.there("", pressureFile)
	if g := s.group; g.kind != nil {
		s.stat.name, s.kernel.name, s.current.name = s.there(g.dir, "memory.stat"), s.there(g.dir, g.kind.kernel), s.there(g.dir, g.kind.current)
		if name := s.there(g.dir, g.kind.pressure); name != "" {
			s.pressure.name = name
		}
	}
	return err
}

// there is the file's name if the kernel has it, "" otherwise: it is not looked for
// with every reading.
func (s *sensors) there(dir, file string) string {
	name := path.Join(dir, file)
	if info, err := fs.Stat(s.root, name); file == "" || err != nil || info.IsDir() {
		return ""
	}
	return name
}

func (s *sensors) close() {
	for _, x := range [...]*sensor{&s.statm, &s.status, &s.stat, &s.kernel, &s.current, &s.pressure} {
		x.close()
	}
}

// process is the resident set, and what of it is backed by no file; 0 where the
// kernel does not tell.
func (s *sensors) process() (rss, anonymous int64, err error) {
	content, err := s.statm.read(s.root, s.buf)
	if err != nil {
		return 0, 0, err
	}
	if rss, err = parseStatm(content, s.pageSize); err != nil {
		return 0, 0, err
	}
	if content, err := s.status.read(s.root, s.buf); err == nil {
		anonymous, _ = parseAnonymous(content)
	}
	return rss, anonymous, nil
}

// ofGroup is what of the control group's memory the kernel cannot get back, and all
// of it, its files' pages included; 0 where it is not known.
func (s *sensors) ofGroup() (bound, current int64) {
	if s.group.kind == nil {
		return 0, 0
	}
	if content, err := s.stat.read(s.root, s.buf); err == nil {
		bound, _ = s.group.kind.sum(content)
	}
	if content, err := s.kernel.read(s.root, s.buf); err == nil && bound > 0 {
		if n, _, ok := number(content); ok && n <= most-bound {
			bound += n
		}
	}
	if content, err := s.current.read(s.root, s.buf); err == nil {
		current, _, _ = number(content)
	}
	return bound, current
}

// stalled is the pressure-stall information of the control group, or else of the
// machine; ok is false where the kernel keeps none.
func (s *sensors) stalled() (st stall, ours, ok bool) {
	content, err := s.pressure.read(s.root, s.buf)
	if err != nil {
		return stall{}, false, false
	}
	st, ok = parseStall(content)
	return st, s.pressure.name != pressureFile, ok
}
