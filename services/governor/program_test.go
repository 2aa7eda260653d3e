// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestProgramRanges(t *testing.T) {
	mapped := func(line, anonymous, swap string) string {
		return line + "\nSize:   100 kB\nRss:     40 kB\nAnonymous:             " + anonymous + "\nAnonHugePages:         0 kB\nSwap:                  " + swap + "\nSwapPss:               0 kB\nVmFlags: rd mr mw me \n"
	}
	smaps := mapped("00400000-014f5000 r-xp 00000000 08:01 1234                               /usr/bin/blufio", "0 kB", "0 kB") +
		mapped("014f5000-0205f000 r--p 010f5000 08:01 1234                               /usr/bin/blufio", "0 kB", "0 kB") +
		mapped("0205f000-02060000 r--p 01c5f000 08:01 1234                               /usr/bin/blufio", "4 kB", "0 kB") + // relocated
		mapped("02060000-02061000 r--p 01c60000 08:01 1234                               /usr/bin/blufio", "0 kB", "4 kB") + // and swapped out
		mapped("02061000-02100000 rw-p 01c61000 08:01 1234                               /usr/bin/blufio", "0 kB", "0 kB") +
		mapped("02100000-02180000 r--p 01c5f000 08:01 1234                               /usr/bin/other", "0 kB", "0 kB") +
		mapped("02180000-021f0000 rw-p 00000000 00:00 0", "0 kB", "0 kB") +
		mapped("7ffd7f5d6000-7ffd7f5f8000 rw-p 00000000 00:00 0                          [stack]", "0 kB", "0 kB") +
		"garbage\n" +
		"022f0000-02300000 r--p 01c61000 08:01 1234                               /usr/bin/blufio\n" // nothing is said of it
	want := []pageRange{{0x400000, 0x14f5000}, {0x14f5000, 0x205f000}}
	for what, is := range map[string]struct{ smaps, exe string }{
		"as it was started":     {smaps, "/usr/bin/blufio"},
		"replaced":              {strings.ReplaceAll(smaps, "blufio\n", "blufio (deleted)\n"), "/usr/bin/blufio (deleted)"},
		"replaced in between":   {strings.ReplaceAll(smaps, "blufio\n", "blufio (deleted)\n"), "/usr/bin/blufio"},
		"at a path with blanks": {strings.ReplaceAll(smaps, "/usr/bin/blufio", "/home/ann/my  programs/blufio"), "/home/ann/my  programs/blufio"},
		"at one with a colon":   {strings.ReplaceAll(smaps, "/usr/bin/blufio", "/opt/a:b/blufio"), "/opt/a:b/blufio"},
	} {
		if got := programRanges(is.smaps, is.exe); !slices.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", what, got, want)
		}
	}
	if got := programRanges(smaps, "/usr/bin/bluf"); len(got) > 0 {
		t.Errorf("of another program: %x", got)
	}
}

// A look at the pages that failed is no reason to give up, and one that succeeded is enough.
func TestProgramIsFoundLater(t *testing.T) {
	const mapped = "00400000-014f5000 r-xp 00000000 08:01 1234 /usr/bin/blufio\nAnonymous: 0 kB\nSwap: 0 kB\n"
	root := fstest.MapFS{}
	p := &programPages{root: root}
	wantNone := func(why string) {
		t.Helper()
		if got, err := p.find(); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("found %x, %v; want %s", got, err, why)
		}
	}
	wantNone("find program")
	root["proc/self/exe"] = &fstest.MapFile{Data: []byte("/usr/bin/blufio"), Mode: fs.ModeSymlink | 0o777}
	wantNone("read program's pages")
	root["proc/self/smaps"] = &fstest.MapFile{Data: []byte("garbage\n")}
	wantNone("no pages of /usr/bin/blufio")
	root["proc/self/smaps"].Data = []byte(mapped)
	for range 2 {
		if got, err := p.find(); err != nil || !slices.Equal(got, []pageRange{{0x400000, 0x14f5000}}) {
			t.Errorf("found %x, %v", got, err)
		}
		clear(root)
	}
}

// A page fault brings in no more than a piece of a mapping that was divided, wherever it
// is, and the pages go as before. To divide it once more changes nothing.
func TestDivide(t *testing.T) {
	p, content := mappedFile(t)
	for range 2 {
		p.divided = false
		if err := p.drop(); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, 5*pieceBytes - 1, 6 * pieceBytes, len(content) - 1} {
			if content[at] != 7 {
				t.Errorf("byte %d of the file has another content", at)
			}
			if got := residentIn(t, p.known[0]); got == 0 || got > pieceBytes {
				t.Errorf("a page fault at %d brought in %d bytes, want at most %d", at, got, pieceBytes)
			}
			if err := p.drop(); err != nil {
				t.Error(err)
			}
			if got := residentIn(t, p.known[0]); got != 0 {
				t.Errorf("%d bytes stayed", got)
			}
		}
	}
}

// Where a process may have few mappings they are not divided, which is told once; pages go
// all the same.
func TestDivideLeavesMappings(t *testing.T) {
	for _, most := range []string{"59\n", "many"} {
		p, content := mappedFile(t)
		p.root = mayHave(most)
		if content[0] != 7 {
			t.Error("the file has another content")
		}
		if err := p.drop(); err == nil || !strings.Contains(err.Error(), "vm.max_map_count") {
			t.Errorf("at most %q mappings: %v", most, err)
		}
		if got := residentIn(t, p.known[0]); got != 0 {
			t.Errorf("at most %q mappings: %d bytes stayed", most, got)
		}
		if err := p.drop(); err != nil {
			t.Errorf("at most %q mappings: told again: %v", most, err)
		}
	}
}

// mayHave is a system that tells how many mappings a process may have.
func mayHave(mappings string) fs.FS {
	return fstest.MapFS{mapCountFile: {Data: []byte(mappings)}}
}

// Where it is hidden how many there may be, as systemd does for our unit, it is what the
// kernel begins with.
func TestDivideWhereTheLimitIsHidden(t *testing.T) {
	p, content := mappedFile(t)
	p.root = fstest.MapFS{}
	if err := p.drop(); err != nil {
		t.Fatal(err)
	}
	if content[0] != 7 {
		t.Error("the file has another content")
	}
	if got := residentIn(t, p.known[0]); got == 0 || got > pieceBytes {
		t.Errorf("a page fault brought in %d bytes, want at most %d", got, pieceBytes)
	}
	p, _ = mappedFile(t)
	p.known[0].to = p.known[0].from + (defaultMapCount/pieceShare+1)*pieceBytes // judged before it is used
	if err := p.divide(p.known); err == nil || !strings.Contains(err.Error(), "65530") {
		t.Errorf("more pieces than there may be: %v", err)
	}
}

// Neither of two reasons hides the other.
func TestBothReasonsAreTold(t *testing.T) {
	if os.Getpagesize() > pieceBytes {
		t.Skip("nothing is divided")
	}
	p := &programPages{root: mayHave("few"), known: []pageRange{{1, 2}}} // no page begins there
	if err := p.drop(); err == nil || !strings.Contains(err.Error(), "vm.max_map_count") || !errors.Is(err, unix.EINVAL) {
		t.Errorf("drop: %v", err)
	}
}

// The pages of this very program go, and it runs on: no other test would notice a kernel
// that tells of them in other words.
func TestProgramIsReallyDropped(t *testing.T) {
	p := &programPages{root: os.DirFS("/")}
	ranges, err := p.find()
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	var all int64
	for _, r := range ranges {
		if _, err := io.Copy(io.Discard, io.NewSectionReader(memory, int64(r.from), int64(r.to-r.from))); err != nil { // all of it is used
			t.Fatal(err)
		}
		all += int64(r.to - r.from)
	}
	before := residentIn(t, ranges...)
	if err := p.drop(); err != nil {
		t.Fatal(err)
	}
	if after := residentIn(t, ranges...); all < 1<<20 || before < all/2 || after > before/2 {
		t.Errorf("of %d bytes %d were resident before and %d after", all, before, after)
	}
}

// mappedFile is a file, all sevens, as a program might be mapped: it ends with part of a piece.
func mappedFile(t *testing.T) (*programPages, []byte) {
	t.Helper()
	if os.Getpagesize() >= pieceBytes {
		t.Skip("a page is as large as a piece")
	}
	name, size := filepath.Join(t.TempDir(), "program"), 16*pieceBytes-os.Getpagesize()
	if err := os.WriteFile(name, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(content) })
	at := uintptr(unsafe.Pointer(&content[0]))
	return &programPages{root: os.DirFS("/"), known: []pageRange{{at, at + uintptr(size)}}}, content
}

// residentIn is what is resident of some ranges, in bytes.
func residentIn(t *testing.T, ranges ...pageRange) (sum int64) {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(smaps)) {
		var from, to uintptr
		var kb int64
		if n, _ := fmt.Sscanf(line, "%x-%x", &from, &to); n == 2 {
			inside = slices.ContainsFunc(ranges, func(r pageRange) bool { return from >= r.from && to <= r.to })
		} else if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kb); n == 1 && inside {
			sum += kb << 10
		}
	}
	return sum
}

// What keeps the program's pages is logged once, and again when it is something else or comes back.
func TestProgramStays(t *testing.T) {
	b := newBench(t)
	var log strings.Builder
	var why error
	b.Service.deps.Logger = slog.New(slog.NewTextHandler(&log, nil))
	b.Service.deps.DropProgram = func() error { return why }
	for _, step := range []struct {
		why  error
		want int // lines so far
	}{{nil, 0}, {errors.New("one"), 1}, {errors.New("one"), 1}, {errors.New("another"), 2}, {nil, 2}, {errors.New("another"), 3}} {
		why = step.why
		b.dropProgram(t.Context())
		if got := strings.Count(log.String(), "program holds more memory than it needs"); got != step.want {
			t.Errorf("after %v: %d lines, want %d", step.why, got, step.want)
		}
	}
}
