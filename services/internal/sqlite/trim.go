// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"encoding/binary"
	"os"
	"slices"

	"github.com/blufio/blufio/services/internal/pagemap"
	"golang.org/x/sys/unix"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// cached is how many bytes the page caches of all connections of this process hold. SQLite
// counts memory at large only where it was built to, but pages in any case, and all
// of them as overflow where none were set aside (sqlite3_status64).
func cached() int64 {
	tls := libc.NewTLS()
	defer tls.Close()
	const size = 8
	now := tls.Alloc(2 * size) // and the most there ever was
	defer tls.Free(2 * size)
	if lib.Xsqlite3_status64(tls, lib.SQLITE_STATUS_PAGECACHE_OVERFLOW, now, now+size, 0) != lib.SQLITE_OK {
		return 0
	}
	return int64(binary.NativeEndian.Uint64(libc.GoBytes(now, size)))
}

// SQLite's memory comes from an allocator below modernc.org/libc, in regions of
// 64 KiB and powers of two above. Of each size it keeps up to 4 MiB that nobody uses,
// with what was in them (modernc.org/memory, retain). It could give all of them back
// (Allocator.Trim), but libc has no way to ask for that.
const (
	keptBytes   = 4 << 20
	leastRegion = 64 << 10
	mostRegion  = 1 << 20
	regionHead  = 256 // more than the allocator's own share of one
)

// trim takes what the allocator keeps, the latest used first, has the system take
// back the pages, and returns it.
func trim() {
	pages, err := pagemap.Open()
	if err != nil {
		return
	}
	defer pages.Close() //nolint:errcheck // it was only read
	tls := libc.NewTLS()
	defer tls.Close()
	var kept [keptBytes / leastRegion]uintptr
	for size := leastRegion; size <= mostRegion; size *= 2 {
		taken := kept[:0]
		for dirty := true; dirty && len(taken) < keptBytes/size; {
			p := libc.Xmalloc(tls, libc.Tsize_t(size-regionHead))
			if p == 0 {
				break
			}
			taken = append(taken, p)
			dirty = dropPages(pages, p, uintptr(size-regionHead))
		}
		for _, p := range slices.Backward(taken) {
			libc.Xfree(tls, p)
		}
	}
}

// dropPages has the system take back the whole pages within memory that is ours, and
// reports whether there were any (madvise(2)). Such memory lies outside of Go's, where
// nothing moves.
func dropPages(pages *pagemap.File, p, length uintptr) (dropped bool) {
	page := uintptr(os.Getpagesize())
	from, to := (p+page-1)&^(page-1), (p+length)&^(page-1)
	if to <= from {
		return false
	}
	if n, err := pages.Count(from, to); err != nil || n.Present+n.Swapped == 0 {
		return false
	}
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
	return errno == 0
}
