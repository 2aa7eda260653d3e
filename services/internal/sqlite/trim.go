// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import "modernc.org/libc"

// SQLite's memory comes from an allocator of modernc.org/libc, in regions of 64 KiB
// and powers of two above. Of each size it keeps up to 4 MiB that nobody uses, with
// what was in them, the latest freed first (modernc.org/memory, retain); it could
// give all of them back (Allocator.Trim), but libc has no way to ask for that.
const (
	keptBytes   = 4 << 20
	leastRegion = 64 << 10
	mostRegion  = 1 << 20
)

// trim has that allocator keep regions that were never written to in place of those
// that were: it takes as many as are kept twice over, the used ones first, and gives
// them back in that order. So what is kept afterwards takes a page each.
func trim() {
	tls := libc.NewTLS()
	defer tls.Close()
	var taken [2 * keptBytes / leastRegion]uintptr
	for size := leastRegion; size <= mostRegion; size *= 2 {
		n := 2 * keptBytes / size
		for i := range n {
			taken[i] = libc.Xmalloc(tls, libc.Tsize_t(size-libcHeader))
		}
		for i := range n {
			libc.Xfree(tls, taken[i])
		}
	}
}

// libcHeader is more than the allocator's own share of a region.
const libcHeader = 256
