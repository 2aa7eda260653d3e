// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// forgery is an archive in pieces, for tests that put one together wrongly.
type forgery struct {
	m        Manifest
	text     []byte   // of manifest.json; nil: made of m
	entries  [][]byte // header, content and padding of each file; nil: made of m
	files    map[string][]byte
	end      []byte
	compress func(tar []byte) []byte
	finish   func(frame []byte) []byte // makes the archive of the frame
}

// forge begins with a right one.
func forge(p *parts) *forgery {
	f := &forgery{m: p.m, files: maps.Clone(p.files), end: tarEnd(), compress: compress, finish: sealed}
	f.m.Format = Format
	f.m.Files = slices.Clone(p.m.Files)
	slices.SortFunc(f.m.Files, byOrder)
	f.entries = make([][]byte, len(f.m.Files))
	for i, file := range f.m.Files {
		f.entries[i] = entry(tarHeader(file, created), p.files[file.Name])
	}
	return f
}

// entry is one file's part of a tar.
func entry(header, content []byte) []byte {
	return slices.Concat(header, content, make([]byte, padding(int64(len(content)))))
}

func (f *forgery) tar(t testing.TB) []byte {
	t.Helper()
	text := f.text
	if text == nil {
		var err error
		if text, err = json.Marshal(f.m); err != nil {
			t.Fatal(err)
		}
	}
	tar := entry(tarHeader(manifestFile(len(text)), f.m.Created), text)
	return append(append(tar, slices.Concat(f.entries...)...), f.end...)
}

func (f *forgery) bytes(t testing.TB) []byte {
	t.Helper()
	return f.finish(f.compress(f.tar(t)))
}

func compress(tar []byte) []byte { return compressWith(tar, zstd.WithWindowSize(window)) }

func compressWith(tar []byte, o ...zstd.EOption) []byte {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, o...)
	if err != nil {
		panic(err)
	}
	for part := range slices.Chunk(tar, 64<<10) { // in parts: at once it would be one segment, without a window
		if _, err := z.Write(part); err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// sealed is frame with the seal that belongs to it.
func sealed(frame []byte) []byte {
	sum := sha256.Sum256(frame)
	return append(slices.Clone(frame), seal(sum[:])...)
}
