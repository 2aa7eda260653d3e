// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"encoding/binary"
	"io"
	"os"
	"slices"
	"unsafe"
)

const (
	pageEntry   = 8    // bytes for each page in pagemap (proc_pid_pagemap(5))
	pagePresent = 63   // the bit that says that it is in memory
	pagesAtOnce = 4096 // that are read
)

// resident is how much of the mapping lies in memory for this process: what Linux says of
// its pages in pagemap. Where that cannot be read it is all of it.
func (f *mapping) resident() int64 {
	if len(f.data) == 0 {
		return 0
	}
	file, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return int64(len(f.data))
	}
	defer file.Close()
	page := os.Getpagesize()
	first, pages := int64(uintptr(unsafe.Pointer(unsafe.SliceData(f.data))))/int64(page), (len(f.data)+page-1)/page
	n, err := present(io.NewSectionReader(file, first*pageEntry, int64(pages)*pageEntry), pages)
	if err != nil {
		return int64(len(f.data))
	}
	return n * int64(page)
}

// present is how many of the next pages are in memory.
func present(entries io.Reader, pages int) (n int64, err error) {
	buf := make([]byte, pagesAtOnce*pageEntry)
	for ; pages > 0; pages -= pagesAtOnce {
		some := buf[:min(pages, pagesAtOnce)*pageEntry]
		if _, err := io.ReadFull(entries, some); err != nil {
			return 0, err
		}
		for entry := range slices.Chunk(some, pageEntry) {
			n += int64(binary.NativeEndian.Uint64(entry) >> pagePresent)
		}
	}
	return n, nil
}
