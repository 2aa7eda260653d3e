// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// A trial that does not begin says why, and leaves nothing beside the backup.
func TestDrillDoesNotBegin(t *testing.T) {
	path := backedUp(t, stopped(t, whole))
	damaged := filepath.Join(t.TempDir(), "damaged.tar.zst")
	data, err := os.ReadFile(path)
	check(t, err)
	data[len(data)/2] ^= 0x10
	check(t, os.WriteFile(damaged, data, 0o600))
	for name, c := range map[string]struct{ path, key, says string }{
		"no key there":     {path, filepath.Join(t.TempDir(), "none"), "vault's key"},
		"a damaged backup": {damaged, "", "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := OpenArchive(t.Context(), c.path, nil, nil)
			check(t, err)
			defer a.Close()
			if _, err := BeginDrill(t.Context(), a, c.key, time.Now); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("begun: %v; want one of %q", err, c.says)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(c.path), ".blufio-drill-*")); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}
