// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"encoding/binary"
	"os"
	"unsafe"
)

const (
	pageEntry   = 8  // bytes for each page in pagemap (proc_pid_pagemap(5))
	pagePresent = 63 // the bit that says that it is in memory
)

// resident is how much of the mapping lies in memory for this process: what Linux says of
// its pages in pagemap. Where that cannot be read it is all of it.
func (f *mapping) resident() int64 {
	if len(f.data) == 0 {
		return 0
	}
	pages, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return int64(len(f.data))
	}
	defer pages.Close()
	page := os.Getpagesize()
	first := int64(uintptr(unsafe.Pointer(unsafe.SliceData(f.data)))) / int64(page)
	entries := make([]byte, (len(f.data)+page-1)/page*pageEntry)
	if _, err := pages.ReadAt(entries, first*pageEntry); err != nil {
		return int64(len(f.data))
	}
	return present(entries) * int64(page)
}

// present is how many pages are in memory.
func present(entries []byte) (n int64) {
	for ; len(entries) >= pageEntry; entries = entries[pageEntry:] {
		n += int64(binary.NativeEndian.Uint64(entries) >> pagePresent)
	}
	return n
}
