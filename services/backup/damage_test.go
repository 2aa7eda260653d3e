// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/backup/archive"
)

// A database with damage that can be read and counted is no backup, though its archive is written while it is looked for.
func TestDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config, _ *Deps) { c.Dir, c.DrillEvery = dir, 0 })
	r.fill(3 << 20)
	db, err := sql.Open("sqlite", filepath.Join(r.dir, archive.DatabaseName))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (id INTEGER REFERENCES parent); INSERT INTO child VALUES (7)`); err != nil {
		t.Fatal(err)
	}
	const says = "check the copy: database is damaged"

	b := r.begin(bus.BackupRequest{})
	for at := int64(0); ; {
		c, err := bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID, Offset: at})
		if err != nil {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("the reader is told %v", err)
			}
			break
		}
		if c.EOF {
			t.Fatal("the reader has a whole archive")
		}
		at += int64(len(c.Data))
	}

	r.pass(settling)
	r.until("the one that is due fails", func() bool { return r.get(0).Failures == 1 })
	if f := r.get(0).LastFailure; f == nil || !strings.Contains(f.Error, says) {
		t.Errorf("%+v", f)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there are %v, %v", left, err)
	}
	r.wantClean(dir)
}
