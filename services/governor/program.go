// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// dropProgramPages takes the pages of the program file out of the resident set.
// They are clean copies of a file, so nothing is lost: the next use of one maps
// it again (madvise(2), MADV_DONTNEED).
func dropProgramPages() error {
	ranges, err := programPages()
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("drop program's pages: %w", errno)
		}
	}
	return nil
}

// programPages is where the program file is mapped, which never changes.
var programPages = sync.OnceValues(func() ([]pageRange, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("find program: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("read program's pages: %w", err)
	}
	return programRanges(string(maps), exe), nil
})

type pageRange struct{ from, to uintptr }

// programRanges finds the read-only mappings of exe in the text of maps (see
// proc(5)). A writable one holds the program's variables and is never taken.
func programRanges(maps, exe string) []pageRange {
	var out []pageRange
	for line := range strings.Lines(maps) {
		var r pageRange
		var mode, offset, device, inode, path string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s %s", &r.from, &r.to, &mode, &offset, &device, &inode, &path); n != 7 {
			continue
		}
		if path == exe && strings.HasPrefix(mode, "r-") && r.from < r.to {
			out = append(out, r)
		}
	}
	return out
}
