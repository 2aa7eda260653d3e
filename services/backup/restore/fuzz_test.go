// SPDX-License-Identifier: MIT OR Apache-2.0

package restore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever stands in an intent, ending it touches nothing outside of the data directory, nor
// the lock, and it ends or is refused in one line.
func FuzzIntent(f *testing.F) {
	for _, text := range []string{
		`{"format": 1, "pre": "pre-restore-20260104T030405Z", "from": "restore.new", "old": ["blufio.db"], "new": ["blufio.db"]}`,
		`{"format": 1, "pre": "pre-restore-a", "from": "pre-restore-b", "old": [], "new": ["a"]}`,
		`{"format": 1, "pre": "pre-restore-../../x", "from": "restore.new", "old": [".."], "new": ["../victim"]}`,
		`{"format": 1, "pre": "pre-restore-a", "from": "restore.new", "old": ["lock"], "new": ["lock"]}`,
		`{"format": 2}`, `{`, ``, `[]`,
	} {
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, back bool) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "data")
		for path, content := range map[string]string{"victim": "v", "data/blufio.db": "old", "data/lock": "l", "data/restore.new/blufio.db": "new", "data/pre-restore-b/a": "x"} {
			write(t, filepath.Join(parent, path), content)
		}
		name := forwardFile
		if back {
			name = backFile
		}
		write(t, filepath.Join(dir, name), text)
		if _, err := Replay(dir); err != nil && strings.Count(err.Error(), "\n") > 1 {
			t.Errorf("%v", err)
		}
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 2 {
			t.Errorf("beside the data directory there is %v, %v", entries, err)
		}
		for path, want := range map[string]string{"victim": "v", "data/lock": "l"} {
			if got, err := os.ReadFile(filepath.Join(parent, path)); err != nil || string(got) != want {
				t.Errorf("%s is %q, %v", path, got, err)
			}
		}
	})
}
