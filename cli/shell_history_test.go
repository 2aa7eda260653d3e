// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func remembered(t *testing.T, path string) *history {
	t.Helper()
	h, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "blufio", "shell_history")
	h := remembered(t, path)
	want := []string{`a \n b \\ c`, "two\nlines\\", "last"}
	for _, e := range append(want, "last", "", strings.Repeat("x", historyEntrySize+1)) {
		if err := h.add(e); err != nil {
			t.Fatal(err)
		}
	}
	if got := remembered(t, path).entries; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(p); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", p, info.Mode(), err)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shell_history")
	h := remembered(t, path)
	for i := range 2*historyEntries + 10 {
		if err := h.add(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n >= 2*historyEntries || h.len() != historyEntries {
		t.Errorf("%d lines, %d entries", n, h.len())
	}
	h = remembered(t, path)
	if h.len() != historyEntries || h.ago(1) != fmt.Sprint(2*historyEntries+9) {
		t.Errorf("%d entries, the newest is %s", h.len(), h.ago(1))
	}
}

// TestHistoryOfOthers: a file that cannot be used is told once, and the shell works.
func TestHistoryOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("evil \x1b[2J\n\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := remembered(t, path).entries; !slices.Equal(got, []string{"evil [2J"}) {
		t.Errorf("got %q", got)
	}
	h := &history{path: filepath.Join(path, "below", "a", "file")}
	if err := h.add("a"); err == nil {
		t.Error("no error")
	}
	if err := h.add("b"); err != nil || h.ago(1) != "b" {
		t.Errorf("%v, %q", err, h.entries)
	}
	if _, err := openHistory(filepath.Dir(path)); err == nil {
		t.Error("a directory was read")
	}
}

// Two shells at a time: the one that shortens the file keeps what the other added,
// and that one goes on in the new file.
func TestHistoryOfTwoShells(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shell_history")
	one, other := remembered(t, path), remembered(t, path)
	for i := range historyEntries - 1 {
		if err := one.add(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range []*history{other, one, other} {
		if err := h.add(fmt.Sprint("typed ", i)); err != nil {
			t.Fatal(err)
		}
	}
	got := remembered(t, path).entries
	if want := []string{"typed 0", "typed 1", "typed 2"}; !slices.Equal(got[len(got)-3:], want) {
		t.Errorf("the newest are %q, want %q", got[len(got)-3:], want)
	}
}

// Shells that write at the same time lose nothing to one that shortens the file.
func TestHistoryOfManyShells(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shell_history")
	const shells, each = 4, 100
	var wg sync.WaitGroup
	for s := range shells {
		h := remembered(t, path)
		h.written = historyEntries - 1 - s*each/shells // each of them shortens it at another time
		wg.Go(func() {
			for i := range each {
				if err := h.add(fmt.Sprint(s, " ", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := remembered(t, path).entries; len(got) != shells*each {
		t.Errorf("%d entries of %d", len(got), shells*each)
	}
}
