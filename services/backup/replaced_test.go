// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/backup/restore"
)

// replace leaves what a restore of that time would, with n bytes in it.
func (r *rig) replace(at time.Time, n int) {
	r.t.Helper()
	dir := filepath.Join(r.dir, restore.PreName(r.dir, at))
	if err := os.Mkdir(dir, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "blufio.db"), make([]byte, n), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wantReplaced(names ...string) {
	r.t.Helper()
	r.until("there are as many as should be", func() bool { return r.get(0).Replaced.Dirs == len(names) })
	all, err := restore.List(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, one := range all {
		got = append(got, one.Name)
	}
	if !slices.Equal(got, names) {
		r.t.Errorf("kept are %v, want %v", got, names)
	}
}

// What restores have replaced is shown, stays for a week whatever there is of it, and then as
// many as are kept. A daemon that has just been started deletes nothing.
func TestReplacedIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config, _ *Deps) { c.Every, c.KeepReplaced = 0, 2 })
	r.wantProbe("BLF-BAK-006", bus.LevelOK, "none")
	r.stop()
	day := 24 * time.Hour
	for _, ago := range []time.Duration{30 * day, 20 * day, 3 * day, 2 * day} {
		r.replace(noon.Add(-ago), 1000)
	}
	r.replace(noon.Add(day), 1000) // of a clock that was ahead
	r.start(func(c *Config, _ *Deps) { c.Every, c.KeepReplaced = 0, 2 })
	const ahead, two, three = "pre-restore-20261124T120000Z", "pre-restore-20261121T120000Z", "pre-restore-20261120T120000Z"
	r.wantReplaced(ahead, two, three, "pre-restore-20261103T120000Z", "pre-restore-20261024T120000Z")
	r.wantMetrics(map[string]float64{"blufio_backup_replaced": 5, "blufio_backup_replaced_limit": 2, "blufio_backup_replaced_bytes": 5000})
	r.wantProbe("BLF-BAK-006", bus.LevelInfo, "5 KiB in 5 of "+filepath.Join(r.dir, "pre-restore-*"))
	if fix, want := r.probe("BLF-BAK-006").Fix, "rm -r "+filepath.Join(r.dir, "pre-restore-20261024T120000Z"); fix[len(fix)-len(want):] != want {
		t.Errorf("what to do is %q", fix)
	}
	r.pass(replacedLook)
	r.wantReplaced(ahead, two, three)
	r.wantMetrics(map[string]float64{"blufio_backup_replaced": 3, "blufio_backup_replaced_bytes": 3000})
	r.pass(10 * day)
	r.wantReplaced(ahead, two)
	r.pass(1000 * day)
	r.wantReplaced(ahead, two)
	r.stop()
	r.start(func(c *Config, _ *Deps) { c.Every, c.KeepReplaced = 0, 1 })
	r.pass(replacedLook)
	r.wantReplaced(ahead)
}

// A restore that was cut off is found, and what it will come to is said.
func TestPendingRestoreIsFound(t *testing.T) {
	r := newRig(t, nil)
	r.wantProbe("BLF-BAK-005", bus.LevelOK, "none")
	for name, c := range map[string]struct{ text, level, seen string }{
		"restore.json":      {`{"format": 1, "pre": "pre-restore-20260101T000000Z", "from": "restore.new", "old": [], "new": ["blufio.db"]}`, bus.LevelWarn, "the backup in place"},
		"restore-back.json": {`{"format": 1, "pre": "pre-restore-20260101T000000Z", "from": "restore.new", "old": [], "new": ["blufio.db"]}`, bus.LevelWarn, "the old files in place"},
		"restore.json.":     {`{`, bus.LevelFail, "restore.json"},
	} {
		path := filepath.Join(r.dir, name[:len("restore.json")])
		if name == "restore-back.json" {
			path = filepath.Join(r.dir, name)
		}
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.wantProbe("BLF-BAK-005", c.level, c.seen)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
