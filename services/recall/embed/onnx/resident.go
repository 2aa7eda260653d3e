// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"os"
	"unsafe"

	"github.com/blufio/blufio/services/internal/pagemap"
)

// resident is how much of the mapping lies in memory for this process. Where that cannot be
// read it is all of it.
func (f *mapping) resident() int64 {
	if len(f.data) == 0 {
		return 0
	}
	pages, err := pagemap.Open()
	if err != nil {
		return int64(len(f.data))
	}
	defer pages.Close() //nolint:errcheck // it was only read
	from := uintptr(unsafe.Pointer(unsafe.SliceData(f.data)))
	n, err := pages.Count(from, from+uintptr(len(f.data)))
	if err != nil {
		return int64(len(f.data))
	}
	return n.Present * int64(os.Getpagesize())
}
