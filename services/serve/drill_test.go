// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/blufio/blufio/bus"
)

// What a vault is locked with is not written to where its backups lie, not even for a moment,
// and is gone before the second daemon starts.
func TestDrillKeepsTheKeyApart(t *testing.T) {
	for _, source := range []string{bus.KeyFile, bus.KeyCredential, bus.KeyPassphrase} {
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		key := filepath.Join(t.TempDir(), "key")
		check(t, os.WriteFile(key, []byte("what the vault is locked with\n"), 0o600))
		s, err := newScratch(t.TempDir(), ".blufio-drill-*")
		check(t, err)
		d := &Drill{scratch: s, dir: s.path}
		environ, err := d.lend(key, source)
		check(t, err)
		if lent := len(environ) > 0 || d.keyDir() != ""; !lent {
			t.Errorf("%s: nothing is lent", source)
		}
		if files := filesIn(t, s.path); len(files) > 0 {
			t.Errorf("%s: beside the archive there are %q", source, files)
		}
		check(t, d.takeBack())
		if files := filesIn(t, tmp); len(files) > 0 {
			t.Errorf("%s: left behind: %q", source, files)
		}
		check(t, d.End())
	}
}

func filesIn(t *testing.T, dir string) (files []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	return files
}
