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

// pauses reads as often as is said and returns how often memory, and how often the program's
// pages alone, were given back. Each reading allocates bytes and has more pages of files.
func pauses(g *giveBack, times int, bytes uint64, filed func(reading int) int64) (spare, programs int) {
	for i := range times {
		what := g.due(g.last+bytes, filed(i))
		switch what {
		case nothing:
			continue
		case allSpare:
			spare++
		case program:
			programs++
		}
		g.done(what)
	}
	return spare, programs
}

const mib = 1 << 20

func steadily(int) int64 { return 14 * mib }

func TestMemoryIsGivenBackTwicePerPause(t *testing.T) {
	g := newGiveBack()
	for _, step := range []struct {
		what  string
		bytes uint64
		times int
		want  int
	}{
		{"the start, not calm for long enough", 1, calmSteps - 1, 0},
		{"the pause after the start", 1, 1, 1},
		{"what is kept for a while", 1, calmAgain - calmSteps - 1, 0},
		{"goes at its end", 1, 1, 1},
		{"a long pause", 1, 1000, 0},
		{"a burst", 100 * mib, 50, 0},
		{"too short a pause", mib, calmSteps - 1, 0},
		{"a burst again", calmBytes, 1, 0},
		{"the pause after it", mib, calmSteps, 1},
		{"a burst before its end", calmBytes, 1, 0},
		{"a whole pause", mib / 8, 100, 2},
		{"slow use", mib, slowBytes / mib, 0},
		{"slow use, and what is kept for a while", mib, calmAgain, 1},
		{"slow use for long", mib, 10 * (slowBytes/mib + calmAgain), 10},
		{"a load without a pause", calmBytes, busySteps, 0},
		{"a load without a pause for very long", calmBytes, 10*busySteps - 100, 10},
		{"the pause after that", 1, 100, 2},
		{"as much as is no burst", calmBytes - 1, 10 * (slowBytes/calmBytes + 1 + calmAgain), 10},
	} {
		if got, programs := pauses(g, step.times, step.bytes, steadily); got != step.want || programs > 0 {
			t.Errorf("%s: due %d times, want %d; the program's pages %d times", step.what, got, step.want, programs)
		}
	}
}

// The program's pages go when there are more of them than there were, and two minutes after
// a burst more and more seldom.
func TestProgramsPagesGoWhenThereAreMore(t *testing.T) {
	for _, tc := range []struct {
		what  string
		filed func(int) int64
		want  int
	}{
		{"as many as ever", steadily, 0},
		{"a few more", func(i int) int64 { return 14*mib + int64(min(i, 1))*(tidyBytes-1) }, 0},
		{"many more, once", func(i int) int64 { return 14*mib + int64(min(i, 1))*tidyBytes }, 1},
		{"more and more", func(i int) int64 { return int64(14+4*i) * mib }, 19}, // every 4 readings for 64, then after 8 and 16
		{"more, fewer, and more again", func(i int) int64 { return []int64{20, 14, 16, 17}[min(i/20, 3)] * mib }, 2},
		{"nobody knows", func(int) int64 { return 0 }, 0},
	} {
		g := newGiveBack()
		pauses(g, 2*calmAgain, 1, steadily)
		if spare, got := pauses(g, 100, 1, tc.filed); got != tc.want || spare > 0 {
			t.Errorf("%s: %d times, want %d; all that is spare %d times", tc.what, got, tc.want, spare)
		}
	}
}

// In a pause of hours they go about once a minute, and after a burst at once again.
func TestProgramsPagesGoSeldomInALongPause(t *testing.T) {
	more := func(i int) int64 { return int64(14+4*i) * mib }
	g := newGiveBack()
	pauses(g, 1000, 1, more)
	if _, got := pauses(g, 10*tidyMost, 1, more); got != 10 {
		t.Errorf("%d times in %d readings, want 10", got, 10*tidyMost)
	}
	pauses(g, 1, calmBytes, more)
	pauses(g, calmAgain, 1, more)
	if _, got := pauses(g, 8*tidyFirst, 1, more); got != 8 {
		t.Errorf("%d times soon after a burst, want 8", got)
	}
}

// What is due while it cannot be done, for something else is under way or because memory
// is short, is done later.
func TestWhatIsDueStaysDue(t *testing.T) {
	g := newGiveBack()
	for range 3 * calmAgain {
		g.due(g.last, steadily(0))
	}
	if spare, _ := pauses(g, 2*calmAgain, 0, steadily); spare != 2 {
		t.Errorf("given back %d times after it was put off, want 2", spare)
	}
	for range 3 * calmAgain {
		g.due(g.last, steadily(0))
		g.short()
	}
	if spare, _ := pauses(g, 2*calmAgain, 0, steadily); spare != 2 {
		t.Errorf("given back %d times after memory was short, want 2", spare)
	}
}

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
