// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/blufio/blufio/services/internal/clip"
	"golang.org/x/sys/unix"
)

// programPages are those of the program file. Where they are mapped never changes, so
// once they are found they are not looked for again.
type programPages struct {
	root    fs.FS // holds proc
	known   []pageRange
	divided bool // or could not be
}

// drop takes the pages out of the resident set. They are clean copies of a file, so
// nothing is lost: the next use of one maps it again (madvise(2), MADV_DONTNEED). A range
// of which some are not, as what a linker has relocated, is never found. The first time it
// also has fewer come back; if that fails, it is the error of that time alone.
func (p *programPages) drop() error {
	ranges, err := p.find()
	if err != nil {
		return err
	}
	if !p.divided {
		p.divided = true
		err = p.divide(ranges)
	}
	for _, r := range ranges {
		if stay := advise(r, unix.MADV_DONTNEED); stay != nil {
			return errors.Join(err, fmt.Errorf("drop program's pages: %w", stay))
		}
	}
	return err
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
	maps, err := fs.ReadFile(p.root, "proc/self/smaps")
	if err != nil {
		return nil, fmt.Errorf("read program's pages: %w", err)
	}
	if p.known = programRanges(string(maps), exe); len(p.known) == 0 {
		return nil, fmt.Errorf("no pages of %s are mapped", exe)
	}
	return p.known, nil
}

const (
	pieceBytes = 8 << 10 // of the program that one page fault brings in, at most
	pieceShare = 4       // pieces may be one of so many of all the mappings that a process may have

	mapCountFile    = "proc/sys/vm/max_map_count"
	defaultMapCount = 65530 // of the kernel (proc(5), vm.max_map_count)
)

// divide makes pieces of mappings. Where a page is missing the kernel also maps those
// around it that are in memory, 64 KiB in all, but never beyond the mapping; so whatever
// runs once in a while holds less for each place that it touches. What keeps neighbours
// apart is that every other one is marked as not to be dumped (madvise(2),
// MADV_DONTDUMP), as a program's pages, but for the first, are not anyway unless somebody
// asks for them (core(5)).
func (p *programPages) divide(ranges []pageRange) error {
	if os.Getpagesize() > pieceBytes {
		return nil // it is one page already
	}
	var pieces uintptr
	for _, r := range ranges {
		pieces += (r.to - r.from) / pieceBytes
	}
	limit := strconv.Itoa(defaultMapCount)
	switch content, err := fs.ReadFile(p.root, mapCountFile); {
	case err == nil:
		limit = strings.TrimSpace(string(content))
	case !errors.Is(err, fs.ErrNotExist): // systemd's ProcSubset=pid hides it
		return fmt.Errorf("divide program's mappings: %w", err)
	}
	if most, err := strconv.ParseUint(limit, 10, 64); err != nil || uint64(pieces)*pieceShare > most {
		return fmt.Errorf("divide program's mappings: %d pieces are too many where a process may have %s mappings (vm.max_map_count)",
			pieces, clip.Marked(limit, maxShown))
	}
	for _, r := range ranges {
		for at := r.from + pieceBytes; at < r.to; at += 2 * pieceBytes {
			if err := advise(pageRange{at, min(at+pieceBytes, r.to)}, unix.MADV_DONTDUMP); err != nil {
				return fmt.Errorf("divide program's mappings: %w", err)
			}
		}
	}
	return nil
}

func advise(r pageRange, what uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, what); errno != 0 {
		return errno
	}
	return nil
}

type pageRange struct{ from, to uintptr }

// deleted is what the kernel writes behind the path of a file that has been replaced,
// as by an upgrade, which may happen between one look and the other.
const deleted = " (deleted)"

// programRanges finds the read-only mappings of exe of which every page is the file's
// own, in the text of smaps (see proc(5)). A writable one holds the program's variables,
// and one with pages in memory or in the swap that are not the file's was written when it was
// linked.
func programRanges(smaps, exe string) []pageRange {
	var out []pageRange
	exe = strings.TrimSuffix(exe, deleted)
	var r pageRange
	clean := 0 // lines that say so, of 2
	for line := range strings.Lines(smaps) {
		switch name, value, _ := strings.Cut(line, ":"); {
		case name == "Anonymous" || name == "Swap":
			if strings.TrimSpace(value) == "0 kB" {
				clean++
			}
			if clean == 2 && r.to > 0 {
				out = append(out, r)
				r = pageRange{}
			}
		case !strings.Contains(name, " "): // another fact about the same
		default:
			r, clean = mapped(line, exe), 0
		}
	}
	return out
}

// mapped is a read-only mapping of exe; of anything else it is nothing.
func mapped(line, exe string) (r pageRange) {
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6) // addresses, mode, offset, device, inode, path
	if len(fields) < 6 || !strings.HasPrefix(fields[1], "r-") || strings.TrimSuffix(strings.TrimLeft(fields[5], " "), deleted) != exe {
		return pageRange{}
	}
	if n, _ := fmt.Sscanf(fields[0], "%x-%x", &r.from, &r.to); n != 2 || r.from >= r.to {
		return pageRange{}
	}
	return r
}
