// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is a file that is mapped into memory. The file stays open, so that rows can
// be read past the mapping.
type mapping struct {
	name string // relative to the model's directory
	file *os.File
	data []byte
}

// mapFile maps a whole file.
func mapFile(path string) (*mapping, error) {
	info, err := os.Stat(path) // before it is opened: to open a pipe would wait
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Size() == 0:
		return nil, fmt.Errorf("%s is empty", path)
	case info.Size() > MaxFileBytes || int64(int(info.Size())) != info.Size():
		return nil, fmt.Errorf("%s has %d MB, more than the %d MB that a model may have", path, info.Size()>>20, MaxFileBytes>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map %s: %w", path, err), f.Close())
	}
	return &mapping{name: filepath.Base(path), file: f, data: data}, nil
}

// shed takes the mapping's pages out of the resident set (madvise(2), MADV_DONTNEED).
func (f *mapping) shed() error { return unix.Madvise(f.data, unix.MADV_DONTNEED) }

func (f *mapping) close() error {
	err := unix.Munmap(f.data)
	f.data = nil
	return errors.Join(err, f.file.Close())
}

// attach finds the tensors that lie in other files, and notes for all of them where they lie.
func (m *Model) attach(g *graph, dir string) error {
	for _, t := range g.all() {
		if !t.external.is {
			t.locate(m.files[0])
			continue
		}
		f, err := m.beside(dir, t.external.file)
		if err != nil {
			return err
		}
		if err := t.view(f); err != nil {
			return err
		}
	}
	return nil
}

// all are the tensors of a graph, constants too.
func (g *graph) all() []*Tensor {
	all := g.tensors
	for _, n := range g.nodes {
		for _, a := range n.attrs {
			if a.t != nil {
				all = append(all, a.t)
			}
		}
	}
	return all
}

// beside maps a file that the model names. Only one in or below its own directory counts.
func (m *Model) beside(dir, name string) (*mapping, error) {
	for _, f := range m.files[1:] {
		if f.name == name {
			return f, nil
		}
	}
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("it names weights outside of its directory, at %q", name)
	}
	if len(m.files) > maxBeside {
		return nil, fmt.Errorf("its weights lie in more than %d files", maxBeside)
	}
	f, err := mapFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("open its weights: %w", err)
	}
	f.name = name
	m.files = append(m.files, f)
	return f, nil
}

// view makes t a view of f.
func (t *Tensor) view(f *mapping) error {
	size := int64(t.Type.size())
	if size == 0 {
		return nil
	}
	x, need, have := &t.external, size*int64(t.Len()), int64(len(f.data))
	if x.measured && x.length != need || x.offset > have || need > have-x.offset {
		return fmt.Errorf("tensor %q does not fit into %s: one of the two files is damaged, or from elsewhere", t.Name, f.name)
	}
	t.data, t.file, t.offset = f.data[x.offset:x.offset+need:x.offset+need], f, x.offset
	return nil
}

// locate finds out where in f the bytes of t lie, if they do.
func (t *Tensor) locate(f *mapping) {
	if len(t.data) == 0 {
		return
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(t.data))) - uintptr(unsafe.Pointer(unsafe.SliceData(f.data)))
	if at < uintptr(len(f.data)) { // else it was unpacked, and lies on the heap
		t.file, t.offset = f, int64(at)
	}
}

// pointsElsewhere reports a file that Git LFS left in place of the real one.
func pointsElsewhere(b []byte) bool {
	return bytes.HasPrefix(b, []byte("version https://git-lfs.github.com/"))
}

// Guard calls f, which reads tensors. A file that someone has cut short or whose disk is gone
// cannot be read through its mapping; without this, that would end the process.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer contain(&err)
	return f()
}

// contain makes an error of a page that cannot be read. Other panics go on.
func contain(err *error) {
	switch r := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }: // runtime's error of a fault
		*err = errors.New("the file cannot be read any more: it was cut short, or its disk is gone")
	default:
		panic(r)
	}
}
