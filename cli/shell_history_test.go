// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
