// SPDX-License-Identifier: MIT OR Apache-2.0

package restore

import (
	"fmt"
	"maps"
	"path/filepath"
	"testing"
)

// What is new and has no old one of its name stays where it was put, however often the
// swap is carried out: a restore into an empty directory names files that are not there,
// and one that goes back brings a log that the present database has not.
func TestCrashesWhereLittleWas(t *testing.T) {
	t.Parallel()
	in := intent
	in.New = []string{"blufio.db", "blufio.db-wal", "device.nk"}
	fresh := map[string]string{"blufio.db": "new", "blufio.db-wal": "new log", "device.nk": "new key"}
	for _, had := range []map[string]string{{}, {"blufio.db": "old"}} {
		done := false
		for at := 1; !done; at++ {
			dir := t.TempDir()
			for name, text := range had {
				write(t, filepath.Join(dir, name), text)
			}
			for name, text := range fresh {
				write(t, filepath.Join(dir, Staging, name), text)
			}
			crashed, err := (cut{at: at, crashes: true}).run(dir, func(d *disk) error { return d.swap(in) })
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Replay(dir); err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(had)
			if got := read(t, dir); got["blufio.db"] == "new" || !crashed {
				want = maps.Clone(fresh)
				for name, text := range had {
					want[filepath.Join(in.Pre, name)] = text
				}
			}
			same(t, fmt.Sprintf("%d old files, cut off before change %d", len(had), at), dir, want)
			done = !crashed
		}
	}
}
