// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"os"
	"path/filepath"
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
