// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"bytes"
	"database/sql"
	"errors"
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
	r.spoil()

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
	if f := r.get(0).LastFailure; f == nil || f.Stage != bus.BackupCheck || !strings.Contains(f.Error, says) {
		t.Errorf("%+v", f)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there are %v, %v", left, err)
	}
	r.wantFacts("started", "failed", "started", "failed")
	r.wantClean(dir)
}

// Once the damage is known no more is written than what was on its way, and the seal never.
func TestDamageEndsTheWriting(t *testing.T) {
	r := newRig(t, nil)
	r.fill(3 << 20)
	r.spoil()
	cut, err := r.room.d.Source.Take(t.Context(), Wish{}, filepath.Join(t.TempDir(), "cut"), func(string, int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cut.Close(); err != nil {
			t.Error(err)
		}
	}()
	var b bytes.Buffer
	_, _, err = cut.Write(t.Context(), writer(func(p []byte) (int, error) {
		_ = cut.Sound()
		return b.Write(p)
	}), func(string, int64, int64) {})
	if err == nil || !strings.HasPrefix(err.Error(), says) {
		t.Errorf("got %v", err)
	}
	if b.Len() == 0 || b.Len() > 2<<20 {
		t.Errorf("%d bytes were written", b.Len())
	}
	path := filepath.Join(t.TempDir(), cut.Name())
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Verify(t.Context(), path, archive.Options{}); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("what was written is taken for an archive: %v", err)
	}
}

const says = "check the copy: database is damaged"

// spoil damages the database so that it can be read and counted still.
func (r *rig) spoil() {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.dir, archive.DatabaseName)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = db.Exec(`CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (id INTEGER REFERENCES parent); INSERT INTO child VALUES (7)`)
	if err := errors.Join(err, db.Close()); err != nil {
		r.t.Fatal(err)
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
