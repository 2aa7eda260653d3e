// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// What a killed process left is removed, what is in use is not, nor what a link leads to.
func TestScratch(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	left := filepath.Join(dir, ".blufio-drill-1")
	check(t, os.MkdirAll(filepath.Join(left, "data"), 0o700))
	check(t, os.Symlink(outside, filepath.Join(dir, ".blufio-drill-2")))
	check(t, os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600))
	used, err := newScratch(dir, ".blufio-drill-*")
	check(t, err)
	other, err := newScratch(dir, ".blufio-drill-*")
	check(t, err)
	if fileExists(left) || !fileExists(used.path) || !fileExists(filepath.Join(outside, "kept")) {
		t.Errorf("%s is there: %v; what is in use: %v", left, fileExists(left), fileExists(used.path))
	}
	check(t, used.remove())
	check(t, other.remove())
	if fileExists(used.path) {
		t.Error("it is not removed")
	}
}

// Two that begin at once do not take each other's for what a killed process has left.
func TestScratchAtOnce(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 100 {
				s, err := newScratch(dir, ".blufio-drill-*")
				if err == nil {
					err = errors.Join(os.WriteFile(filepath.Join(s.path, "file"), nil, 0o600), s.remove())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}
