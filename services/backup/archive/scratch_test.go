// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A verification that was killed leaves a database's worth of disk; the next one gives it back.
func TestScratchIsSwept(t *testing.T) {
	place := t.TempDir()
	long := time.Now().Add(-time.Hour)
	for _, name := range []string{scratchPrefix + "left", scratchPrefix + "young", "other"} {
		dir := filepath.Join(place, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, DatabaseName), "x")
		if name != scratchPrefix+"young" {
			if err := os.Chtimes(dir, long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	used, removeUsed, err := scratch("", place)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(used, long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), store(t, small(t).write(t)), Options{Scratch: place}); err != nil {
		t.Fatal(err)
	}
	young := scratchPrefix + "young"
	wantOnly(t, place, "other", "other/blufio.db", young, young+"/blufio.db", filepath.Base(used))
	if _, err := os.Stat(used); err != nil {
		t.Error("one that is in use was removed")
	}
	if err := removeUsed(); err != nil {
		t.Error(err)
	}
}
