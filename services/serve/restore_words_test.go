// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/backup/restore"
	"github.com/blufio/blufio/services/config"
)

const cutOff = "pre-restore-20260101T000000Z"

// halfRestored is a data directory on which a restore was cut off behind its intent.
func halfRestored(t *testing.T) string {
	t.Helper()
	dir := stopped(t, whole)
	stage := filepath.Join(dir, restore.Staging)
	check(t, os.Mkdir(stage, 0o700))
	check(t, os.Rename(databasePath(stopped(t, whole)), databasePath(stage)))
	check(t, os.WriteFile(filepath.Join(dir, "restore.json"),
		[]byte(`{"format": 1, "pre": "`+cutOff+`", "from": "restore.new", "old": ["blufio.db", "events"], "new": ["blufio.db"]}`), 0o600))
	return dir
}

// A backup without a daemon is taken when its copy was looked through, and not before: whoever calls may have been the
// owner of the files for as long as that takes. A damaged one lets the directory go.
func TestTakeBackupWaitsForTheCheck(t *testing.T) {
	dir := altered(t, `CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (id INTEGER REFERENCES parent); INSERT INTO child VALUES (7)`)
	for range 2 {
		b, err := TakeBackup(t.Context(), Options{Config: Defaults(), DataDir: dir, Version: "test", Logger: bustest.Logger(t), Now: time.Now}, bus.BackupRequest{}, func(string, int64, int64) {})
		if b != nil || err == nil || !strings.HasPrefix(err.Error(), "check the copy: database is damaged") {
			t.Fatalf("got %v, %v", b, err)
		}
	}
	if left, err := os.ReadDir(backup.Scratch(dir)); err != nil || len(left) > 0 {
		t.Errorf("there are %v, %v", left, err)
	}
}

// A backup and a restore without a daemon end one that was cut off, as whoever gets the lock
// does, and say so: also when they fail then.
func TestWhatWasEndedIsSaid(t *testing.T) {
	const words = "a restore had been cut off and was brought to its end: the backup is in place"
	dir := halfRestored(t)
	b, err := TakeBackup(t.Context(), Options{Config: Defaults(), DataDir: dir, Version: "test", Logger: bustest.Logger(t), Now: time.Now}, bus.BackupRequest{}, func(string, int64, int64) {})
	check(t, err)
	if got := b.Ended(); got != words {
		t.Errorf("the backup says %q", got)
	}
	check(t, b.Close())
	b, err = TakeBackup(t.Context(), Options{Config: Defaults(), DataDir: dir, Version: "test", Logger: bustest.Logger(t), Now: time.Now}, bus.BackupRequest{}, func(string, int64, int64) {})
	check(t, err)
	if got := b.Ended(); got != "" {
		t.Errorf("the next backup says %q", got)
	}
	check(t, b.Close())

	r, err := restoreFrom(t, restoreOptions(t, halfRestored(t)), backedUp(t, stopped(t, whole)))
	check(t, err)
	if r.Ended != string(restore.Done) {
		t.Errorf("the restore says %+v", r)
	}

	newer := backedUp(t, altered(t, `UPDATE blufio_schema SET version = version + 1 WHERE room = 'agent'`))
	dir = halfRestored(t)
	_, err = restoreFrom(t, restoreOptions(t, dir), newer)
	var not *NoRestoreError
	if !errors.As(err, &not) || not.Ended != words || not.Half || !isNewer(err) || !strings.HasSuffix(err.Error(), "; before that, "+words) {
		t.Errorf("the restore that is refused says %v", err)
	}
	if !fileExists(filepath.Join(dir, cutOff, "blufio.db")) {
		t.Errorf("there is %v", tree(t, dir))
	}
}

// The archive's files of the agent are put into the data directory. Where the agent looks
// elsewhere that is said, before and after.
func TestRestoredWorkspaceIsElsewhere(t *testing.T) {
	path, away := backedUp(t, stopped(t, whole)), t.TempDir()
	dir := stopped(t, whole)
	link := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink(filepath.Join(dir, "workspace"), link))
	for named, want := range map[string]string{"": "", away: away, filepath.Join(dir, "workspace") + "/": "", link: ""} {
		for _, dry := range []bool{true, false} {
			o := restoreOptions(t, dir)
			o.Workspace, o.DryRun = named, dry
			r, err := restoreFrom(t, o, path)
			check(t, err)
			if r.Elsewhere != want {
				t.Errorf("with %q, rehearsed %v: %q", named, dry, r.Elsewhere)
			}
		}
	}
	without := backedUp(t, stopped(t, whole), func(r *bus.BackupRequest) { r.IncludeWorkspace = false })
	o := restoreOptions(t, dir)
	o.Workspace = away
	if r, err := restoreFrom(t, o, without); err != nil || r.Elsewhere != "" {
		t.Errorf("without files %+v, %v", r, err)
	}
}

// Who goes back gets rid of the configuration that the restore has left, and finds it again
// on the way forward.
func TestBackTakesTheConfigurationAlong(t *testing.T) {
	dir := stopped(t, whole)
	r, err := restoreFrom(t, restoreOptions(t, dir), backedUp(t, dir))
	check(t, err)
	left := filepath.Join(dir, RestoredConfig)
	if !fileExists(left) {
		t.Fatal("the restore has left no configuration")
	}
	o := restoreOptions(t, dir)
	o.DryRun = true
	plan, err := RestoreBack(t.Context(), o, filepath.Base(r.Pre))
	check(t, err)
	back, err := RestoreBack(t.Context(), restoreOptions(t, dir), filepath.Base(r.Pre))
	check(t, err)
	for _, said := range []Restored{plan, back} {
		if !slices.Contains(said.Replaces, RestoredConfig) {
			t.Errorf("replaced are %v", said.Replaces)
		}
	}
	if fileExists(left) {
		t.Error("the backup's configuration is still there")
	}
	_, err = RestoreBack(t.Context(), restoreOptions(t, dir), filepath.Base(back.Pre))
	check(t, err)
	if !fileExists(left) {
		t.Error("forward again, the backup's configuration is not there")
	}
}

// A going back that fails on its way may be made again: the kept database was brought up to
// date where it lies, and says the same the second time.
func TestGoingBackAgain(t *testing.T) {
	dir := stopped(t, 1) // of an older version
	r, err := restoreFrom(t, restoreOptions(t, dir), backedUp(t, stopped(t, whole)))
	check(t, err)
	store, err := openStore(t.Context(), Options{DataDir: dir, Logger: bustest.Logger(t)})
	check(t, err)
	write(t, store, `UPDATE message SET state = 'answered', reply = 'yes', finished_at = 9 WHERE id = 'two'`)
	check(t, store.Close())
	name := filepath.Base(r.Pre)
	for range 2 {
		o := restoreOptions(t, dir)
		o.Stage = func(stage string) {
			if stage == "swap" {
				check(t, os.WriteFile(filepath.Join(dir, "restore.json"), []byte("{"), 0o600))
			}
		}
		if _, err := RestoreBack(t.Context(), o, name); err == nil {
			t.Fatal("it did not fail")
		}
		check(t, os.Remove(filepath.Join(dir, "restore.json")))
	}
	back, err := RestoreBack(t.Context(), restoreOptions(t, dir), name)
	check(t, err)
	if got := messages(t, databasePath(dir)); got["two"] != "answered" || back.Unread != "" {
		t.Errorf("messages %v, %+v", got, back)
	}
}

// A configuration that cannot be written where it is wanted leaves nothing there, and stays
// where the restore has put it.
func TestTakeConfigLeavesNoHalf(t *testing.T) {
	disk := onSmallDisk(t, t.TempDir())
	left := t.TempDir()
	r := Restored{ConfigDir: filepath.Join(left, RestoredConfig), Config: []string{"01-blufio.toml"}}
	check(t, os.Mkdir(r.ConfigDir, 0o700))
	check(t, os.WriteFile(filepath.Join(r.ConfigDir, r.Config[0]), []byte(strings.Repeat("# a long comment\n", 1000)), 0o600))
	fillDisk(t, disk)
	if err := TakeConfig(r, filepath.Join(disk, "taken.toml")); err == nil {
		t.Fatal("it was written to a full disk")
	}
	if got := tree(t, disk); len(got) != 2 { // the disk and its filler
		t.Errorf("there is %v", got)
	}
	if !fileExists(filepath.Join(r.ConfigDir, r.Config[0])) {
		t.Error("it is gone where it was")
	}
	check(t, os.Remove(filepath.Join(disk, "filler")))
	check(t, TakeConfig(r, filepath.Join(disk, "taken.toml")))
	if got := tree(t, disk); len(got) != 2 || !strings.HasPrefix(got["taken.toml"], "-rw-------") || fileExists(r.ConfigDir) {
		t.Errorf("there is %v", got)
	}
}

// The agent's tools reach neither the backups nor the keys, whoever is in the other.
func TestBackupsAndWorkspaceAreApart(t *testing.T) {
	dir := t.TempDir()
	data, work, link := filepath.Join(dir, "data"), filepath.Join(dir, "files"), filepath.Join(dir, "link")
	check(t, errors.Join(os.Mkdir(data, 0o700), os.Mkdir(work, 0o700), os.Symlink(work, link)))
	for _, c := range []struct{ backups, workspace, key string }{
		{"", "", ""},
		{dir + "/backups", dir + "/files", ""},
		{dir + "/files/backups", dir + "/files", "backup.dir"},
		{dir + "/files", dir + "/files", "backup.dir"},
		{dir + "/backups", dir + "/backups/work", "tools.workspace"},
		{dir + "/link/backups", dir + "/files", "backup.dir"},
		{dir + "/files/backups", dir + "/link", "backup.dir"},
		{data + "/workspace/backups", "", "backup.dir"},
		{"", data + "/backups/work", "tools.workspace"},
		{dir + "/backups", data, "tools.workspace"},
		{dir + "/backups", dir, "tools.workspace"},
		{data, "", "tools.workspace"},
	} {
		cfg := Defaults()
		cfg.Backup.Dir, cfg.Tools.Workspace = c.backups, c.workspace
		problems := NotApart(cfg, nil, data)
		if c.key == "" && len(problems) > 0 || c.key != "" && (len(problems) != 1 || problems[0].Key != c.key || problems[0].Hint == "") {
			t.Errorf("backups in %q, workspace in %q: %v", c.backups, c.workspace, problems)
		}
		err := Options{Config: cfg, DataDir: data}.early()
		if code := ExitCode(err); code != 0 != (c.key != "") || code != 0 && code != ExitConfig {
			t.Errorf("backups in %q, workspace in %q: the daemon's exit code is %d: %v", c.backups, c.workspace, code, err)
		}
	}
	_, _, err := Load(config.Sources{Flags: map[string]string{"backup.dir": "/srv/agent/backups", "tools.workspace": "/srv/agent"}})
	if ExitCode(err) != ExitConfig || !strings.Contains(err.Error(), "is in the workspace /srv/agent") {
		t.Errorf("without a data directory: %v", err)
	}
}
