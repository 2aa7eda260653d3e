// SPDX-License-Identifier: MIT OR Apache-2.0

package restore

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What restores have replaced is listed by its age, and nothing else is.
func TestList(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"pre-restore-20260102T030405Z-2/blufio.db", "pre-restore-20260102T030405Z-10/a/b", "pre-restore-20260102T030405Z/blufio.db", "pre-restore-20270102T030405Z/x",
		"pre-restore-mine/x", "pre-restore-20260102T030405Z-1/x", "pre-restore-20260102T030405Z.bak/x", "blufio.db"} {
		write(t, filepath.Join(dir, name), "twelve bytes")
	}
	write(t, filepath.Join(dir, "pre-restore-20280102T030405Z"), "a file")
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "pre-restore-20290102T030405Z")); err != nil {
		t.Fatal(err)
	}
	all, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pre-restore-20270102T030405Z", "pre-restore-20260102T030405Z-10", "pre-restore-20260102T030405Z-2", "pre-restore-20260102T030405Z"}
	if len(all) != len(want) {
		t.Fatalf("there are %+v", all)
	}
	for i, r := range all {
		if r.Name != want[i] || r.Bytes != 12 {
			t.Errorf("%d: %+v, want %s", i, r, want[i])
		}
	}
	if at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC); !all[0].At.Equal(at) {
		t.Errorf("%s", all[0].At)
	}
	if all, err := List(filepath.Join(dir, "nowhere")); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// What is dropped is gone, and a crash in the middle of it leaves nothing that could be taken
// for all of the old files.
func TestDrop(t *testing.T) {
	const old, kept = "pre-restore-20260102T030405Z", "pre-restore-20260103T030405Z"
	dir := t.TempDir()
	write(t, filepath.Join(dir, old, "events", "x"), "old")
	write(t, filepath.Join(dir, kept, "blufio.db"), "old")
	write(t, filepath.Join(dir, doomed, "blufio.db"), "half of one before")
	if err := Drop(dir, old); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{kept + "/blufio.db": "old"}
	same(t, "dropped", dir, want)
	for _, name := range []string{"events", "pre-restore-", "../" + kept, "pre-restore-x", kept + "/."} {
		if err := Drop(dir, name); err == nil {
			t.Errorf("%s was dropped", name)
		}
	}
	write(t, filepath.Join(dir, doomed, "blufio.db"), "half of it")
	if _, err := Replay(dir); err != nil {
		t.Fatal(err)
	}
	same(t, "cut off", dir, want)
	write(t, filepath.Join(dir, forwardFile), `{"format": 1, "pre": "pre-restore-20260104T030405Z", "from": "`+kept+`", "old": [], "new": ["blufio.db"]}`)
	if err := Drop(dir, kept); err == nil || !exists(filepath.Join(dir, kept)) {
		t.Errorf("what a pending restore goes back to was dropped: %v", err)
	}
}
