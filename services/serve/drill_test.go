// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
