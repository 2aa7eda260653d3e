// SPDX-License-Identifier: MIT OR Apache-2.0

// Package pagemap reads what Linux says of a process's own pages (proc_pid_pagemap(5)).
// Unlike smaps it is not longer for a process with many mappings, and unlike mincore(2) it
// is not refused by systemd's @system-service.
package pagemap

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

const (
	entryBytes  = 8       // for each page
	inMemory    = 1 << 63 // the bits that say where it is
	inSwap      = 1 << 62
	pagesAtOnce = 4096 // that are read
)

// Pages are numbers of pages.
type Pages struct {
	Present int64 // in memory
	Swapped int64
}

// File is the pagemap of this process. Its methods may be called concurrently.
type File struct{ file *os.File }

// Open opens it. The caller closes it.
func Open() (*File, error) {
	file, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, fmt.Errorf("open pagemap: %w", err)
	}
	return &File{file}, nil
}

// Close closes it.
func (f *File) Close() error { return f.file.Close() }

// Count counts the pages that lie, or begin, between two addresses.
func (f *File) Count(from, to uintptr) (Pages, error) {
	page := uintptr(os.Getpagesize())
	first, pages := int64(from/page), int64((to-from+page-1)/page)
	return count(io.NewSectionReader(f.file, first*entryBytes, pages*entryBytes), pages)
}

// count counts the next pages.
func count(entries io.Reader, pages int64) (n Pages, err error) {
	buf := make([]byte, min(pages, pagesAtOnce)*entryBytes)
	for ; pages > 0; pages -= pagesAtOnce {
		some := buf[:min(pages, pagesAtOnce)*entryBytes]
		if _, err := io.ReadFull(entries, some); err != nil {
			return Pages{}, fmt.Errorf("read pagemap: %w", err)
		}
		for entry := range slices.Chunk(some, entryBytes) {
			switch e := binary.NativeEndian.Uint64(entry); {
			case e&inMemory != 0:
				n.Present++
			case e&inSwap != 0:
				n.Swapped++
			}
		}
	}
	return n, nil
}
