// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

// backup makes one where the daemon's own lie, and returns its name there.
func (p *patient) backup() string {
	p.Helper()
	p.check(os.MkdirAll(p.file("backups"), 0o700))
	out, err := p.command("backup", p.file("backups"), "--json").Output()
	p.check(err)
	return filepath.Join("backups", filepath.Base(decodeAs[backupMade](p.T, out).Path))
}

// remember puts a row into what the daemon knows of its backups.
func (p *patient) remember(what string, at time.Time, v any) {
	p.Helper()
	data, err := json.Marshal(v)
	p.check(err)
	p.sql(fmt.Sprintf("INSERT OR REPLACE INTO backup_last (what, at, payload) VALUES ('%s', %d, '%s')", what, at.UnixMilli(), data))
}

func TestDoctorFindsBrokenBackups(t *testing.T) {
	t.Parallel()
	yesterday := time.Now().Add(-20 * time.Hour).UTC()
	good := bus.BackupRun{ID: "one", Time: yesterday, Scheduled: true, Path: "/disk/one.tar.zst", Bytes: 1 << 20, Seconds: 1}
	bad := bus.BackupRun{ID: "two", Time: yesterday.Add(time.Hour), Scheduled: true, Path: good.Path, Stage: bus.BackupWrite, Error: "no space left on device"}
	flip := func(p *patient) {
		name := p.backup()
		p.overwrite(name, 3000, []byte("xxxxxxxx"))
	}
	elsewhere := func(p *patient, dir string) { p.write(p.toml, "[backup]\ndir = \""+dir+"\"\n") }
	for _, b := range []breakage{
		{name: "a damaged one", sick: flip, args: []string{"--deep"}, id: "BLF-BAK-002", seen: "damaged", fix: "make a new one"},
		{name: "a damaged one while the daemon runs", up: true, sick: flip, args: []string{"--deep"}, id: "BLF-BAK-002", seen: "damaged", fix: "make a new one"},
		{name: "one that is cut off", sick: func(p *patient) { p.check(os.Truncate(p.file(p.backup()), 5000)) }, args: []string{"--deep"}, id: "BLF-BAK-002", seen: "damaged"},
		{name: "something else by its name", sick: func(p *patient) { p.write(p.file(p.backup()), "nothing") }, args: []string{"--deep"}, id: "BLF-BAK-002", seen: "not a blufio backup"},
		{name: "no directory", sick: func(p *patient) { elsewhere(p, "/nowhere/backups") },
			id: "BLF-BAK-004", seen: "does not exist", fix: "mount the disk"},
		{name: "no directory while the daemon runs", up: true, pre: func(p *patient) { elsewhere(p, "/nowhere/backups") },
			id: "BLF-BAK-004", seen: "does not exist", fix: "mount the disk"},
		{name: "a file in its place", sick: func(p *patient) { p.write(p.file("backups"), "") },
			id: "BLF-BAK-004", seen: "not a directory", fix: "backup.dir"},
		{name: "it failed", up: true, pre: func(p *patient) {
			p.runOnce()
			p.remember("missed", bad.Time, struct {
				bus.BackupRun
				Failures int `json:"failures"`
			}{bad, 3})
		}, id: "BLF-BAK-001", seen: "no space left on device", fix: "tried again at"},
		{name: "it was not sent away", up: true, pre: func(p *patient) {
			p.runOnce()
			p.remember("scheduled", good.Time, good)
			p.remember("unsent", bad.Time, bad)
		}, id: "BLF-BAK-001", seen: "not sent away", fix: "backup.after"},
		{name: "it does not restore", up: true, pre: func(p *patient) {
			p.runOnce()
			p.remember("scheduled", good.Time, good)
			p.remember("undrilled", time.Now(), bus.BackupRun{Time: time.Now(), Path: good.Path, Stage: bus.BackupDrill, Error: "it does not start"})
		}, id: "BLF-BAK-003", seen: "it does not start", fix: "blufio backup drill /disk/one.tar.zst"},
	} {
		b.run(t)
	}
}
