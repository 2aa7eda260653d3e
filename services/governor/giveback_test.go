// SPDX-License-Identifier: MIT OR Apache-2.0

package governor

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/blufio/blufio/bus"
)

func TestMemoryIsGivenBackTwicePerPause(t *testing.T) {
	const mib = 1 << 20
	g := newGiveBack()
	var total uint64
	programs, filed := 0, int64(14*mib)
	read := func(bytes uint64, times int) (due int) {
		for range times {
			total += bytes
			switch g.due(total, filed) {
			case allSpare:
				due++
			case program:
				programs++
				filed = 14 * mib
			default:
				filed += mib
			}
		}
		return due
	}
	for _, step := range []struct {
		what  string
		bytes uint64
		times int
		want  int
	}{
		{"the start, not calm for long enough", mib, calmSteps - 1, 0},
		{"the pause after the start", mib, 1, 1},
		{"what is kept for a while", mib, calmAgain - calmSteps - 1, 0},
		{"goes at its end", mib, 1, 1},
		{"a long pause", mib, 1000, 0},
		{"a burst", 100 * mib, 50, 0},
		{"too short a pause", mib, calmSteps - 1, 0},
		{"a burst again", calmBytes, 1, 0},
		{"the pause after it", mib, calmSteps, 1},
		{"a burst before its end", calmBytes, 1, 0},
		{"a whole pause", mib, 100, 2},
	} {
		if got := read(step.bytes, step.times); got != step.want {
			t.Errorf("%s: due %d times, want %d", step.what, got, step.want)
		}
	}
	if want := 1000/tidyEvery + (100-calmAgain)/tidyEvery; programs != want {
		t.Errorf("the program's pages went %d more times, want %d", programs, want)
	}
}

func TestProgramRanges(t *testing.T) {
	const maps = `00400000-014f5000 r-xp 00000000 08:01 1234                               /usr/bin/blufio
014f5000-0205f000 r--p 010f5000 08:01 1234                               /usr/bin/blufio
0205f000-02100000 rw-p 01c5f000 08:01 1234                               /usr/bin/blufio
02100000-02180000 r--p 01c5f000 08:01 1234                               /usr/bin/other
02180000-021f0000 rw-p 00000000 00:00 0
7ffd7f5d6000-7ffd7f5f8000 rw-p 00000000 00:00 0                          [stack]
garbage
`
	want := []pageRange{{0x400000, 0x14f5000}, {0x14f5000, 0x205f000}}
	for what, is := range map[string]struct{ maps, exe string }{
		"as it was started":     {maps, "/usr/bin/blufio"},
		"replaced":              {strings.ReplaceAll(maps, "blufio\n", "blufio (deleted)\n"), "/usr/bin/blufio (deleted)"},
		"replaced in between":   {strings.ReplaceAll(maps, "blufio\n", "blufio (deleted)\n"), "/usr/bin/blufio"},
		"at a path with blanks": {strings.ReplaceAll(maps, "/usr/bin/blufio", "/home/ann/my  programs/blufio"), "/home/ann/my  programs/blufio"},
	} {
		if got := programRanges(is.maps, is.exe); !slices.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", what, got, want)
		}
	}
	if got := programRanges(maps, "/usr/bin/bluf"); len(got) > 0 {
		t.Errorf("of another program: %x", got)
	}
}

// A look at the pages that failed is no reason to give up, and one that succeeded is enough.
func TestProgramIsFoundLater(t *testing.T) {
	const mapped = "00400000-014f5000 r-xp 00000000 08:01 1234 /usr/bin/blufio\n"
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
	root["proc/self/maps"] = &fstest.MapFile{Data: []byte("garbage\n")}
	wantNone("no pages of /usr/bin/blufio")
	root["proc/self/maps"].Data = []byte(mapped)
	for range 2 {
		if got, err := p.find(); err != nil || !slices.Equal(got, []pageRange{{0x400000, 0x14f5000}}) {
			t.Errorf("found %x, %v", got, err)
		}
		clear(root)
	}
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
		if got := strings.Count(log.String(), "program's pages stay"); got != step.want {
			t.Errorf("after %v: %d lines, want %d", step.why, got, step.want)
		}
	}
}

// The process goes on working after its memory was given back, and holds less.
func TestMemoryIsReallyGivenBack(t *testing.T) {
	b := newBench(t)
	b.Service.deps.Free, b.Service.deps.DropProgram = giveBackMemory, (&programPages{root: os.DirFS("/")}).drop
	b.connect()
	ballast := make([]byte, 64<<20)
	for i := range ballast {
		ballast[i] = 1
	}
	read := func() int64 {
		content, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		n, err := parseStatm(content, int64(os.Getpagesize()))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := read()
	ballast = nil
	b.shed(t.Context(), bus.PressureNormal)
	if after := read(); before-after < 32<<20 {
		t.Errorf("held %d bytes before and %d after", before, after)
	}
	if err := b.store.QueryRow(t.Context(), `SELECT 1`).Scan(new(int)); err != nil {
		t.Error(err)
	}
}
