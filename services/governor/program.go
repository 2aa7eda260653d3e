// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// programPages are those of the program file. Where they are mapped never changes, so
// once they are found they are not looked for again.
type programPages struct {
	root  fs.FS // holds proc
	known []pageRange
}

// drop takes the pages out of the resident set. They are clean copies of a file, so
// nothing is lost: the next use of one maps it again (madvise(2), MADV_DONTNEED).
func (p *programPages) drop() error {
	ranges, err := p.find()
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

// find is where the pages are. What could not be read may be the next time.
func (p *programPages) find() ([]pageRange, error) {
	if len(p.known) > 0 {
		return p.known, nil
	}
	exe, err := fs.ReadLink(p.root, "proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("find program: %w", err)
	}
	maps, err := fs.ReadFile(p.root, "proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("read program's pages: %w", err)
	}
	if p.known = programRanges(string(maps), exe); len(p.known) == 0 {
		return nil, fmt.Errorf("no pages of %s are mapped", exe)
	}
	return p.known, nil
}

type pageRange struct{ from, to uintptr }

// deleted is what the kernel writes behind the path of a file that has been replaced,
// as by an upgrade, which may happen between one look and the other.
const deleted = " (deleted)"

// programRanges finds the read-only mappings of exe in the text of maps (see
// proc(5)). A writable one holds the program's variables and is never taken.
func programRanges(maps, exe string) []pageRange {
	var out []pageRange
	exe = strings.TrimSuffix(exe, deleted)
	for line := range strings.Lines(maps) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6) // addresses, mode, offset, device, inode, path
		if len(fields) < 6 || !strings.HasPrefix(fields[1], "r-") || strings.TrimSuffix(strings.TrimLeft(fields[5], " "), deleted) != exe {
			continue
		}
		var r pageRange
		if n, _ := fmt.Sscanf(fields[0], "%x-%x", &r.from, &r.to); n == 2 && r.from < r.to {
			out = append(out, r)
		}
	}
	return out
}
