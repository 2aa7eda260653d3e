// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/backup/restore"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// stopped makes the data directory of a daemon that has been and is not any more. With
// steps its tables are those of an older version: as many steps of each.
func stopped(t *testing.T, steps int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := embedded.LoadOrCreateDevice(dir); err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: databasePath(dir), Logger: bustest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	var then []sqlite.Schema
	for _, s := range schemas() {
		s.Steps = s.Steps[:min(steps, len(s.Steps))]
		then = append(then, s)
	}
	if err := store.Migrate(t.Context(), then...); err != nil {
		t.Fatal(err)
	}
	write(t, store, `INSERT INTO session (id, channel, owner, name, created_at, last_at) VALUES (1, 'gateway', 'ann', 'main', 1, 1)`)
	write(t, store, `INSERT INTO message (id, session_id, text, state, received_at, finished_at, reply) VALUES ('one', 1, 'hello', 'answered', 1, 2, 'hi')`)
	write(t, store, `INSERT INTO message (id, session_id, text, state, received_at) VALUES ('two', 1, 'open', 'queued', 3)`)
	check(t, store.Close())
	check(t, os.MkdirAll(filepath.Join(dir, "events", "jetstream"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "events", "jetstream", "block"), []byte("events"), 0o600))
	check(t, os.MkdirAll(filepath.Join(dir, "workspace", "notes"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "workspace", "notes", "a.txt"), []byte("a"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
	return dir
}

const whole = 1000 // steps: all there are

func write(t *testing.T, store *sqlite.Store, text string, args ...any) {
	t.Helper()
	check(t, store.Write(t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(text, args...); return err }))
}

// backedUp makes an archive of a stopped daemon.
func backedUp(t *testing.T, dir string, change ...func(*bus.BackupRequest)) string {
	t.Helper()
	request := bus.BackupRequest{IncludeWorkspace: true}
	for _, c := range change {
		c(&request)
	}
	file := filepath.Join(t.TempDir(), "blufio.toml")
	check(t, os.WriteFile(file, []byte("[agent]\nname = \"Ada\"\n"), 0o600))
	cfg, loaded, err := Load(config.Sources{Files: []string{file}})
	check(t, err)
	b, err := TakeBackup(t.Context(), Options{Config: cfg, Loaded: loaded, DataDir: dir, Version: "test", Logger: bustest.Logger(t), Now: time.Now}, request, func(string, int64, int64) {})
	check(t, err)
	defer func() { check(t, b.Close()) }()
	path := filepath.Join(t.TempDir(), "backup.tar.zst")
	f, err := CreateBackup(path, false)
	check(t, err)
	_, _, err = b.Write(t.Context(), f, func(string, int64, int64) {})
	check(t, err)
	check(t, f.Commit())
	return path
}

func restoreOptions(t *testing.T, dir string) RestoreOptions {
	return RestoreOptions{DataDir: dir, Logger: bustest.Logger(t), Now: time.Now}
}

func restoreFrom(t *testing.T, o RestoreOptions, path string) (Restored, error) {
	t.Helper()
	a, err := OpenArchive(t.Context(), path, nil, nil)
	if err != nil {
		return Restored{}, err
	}
	defer a.Close()
	return Restore(t.Context(), o, a)
}

// tree is all that lies in a directory, with modes and contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		found[name] = info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			found[name] += " " + hex.EncodeToString(sum[:8])
		}
		return nil
	})
	check(t, err)
	return found
}

func unchanged(t *testing.T, dir string, before map[string]string) {
	t.Helper()
	after := tree(t, dir)
	for name := range maps.Keys(after) {
		if after[name] != before[name] {
			t.Errorf("%s is %q, and was %q", name, after[name], before[name])
		}
	}
	for name := range before {
		if _, there := after[name]; !there {
			t.Errorf("%s is gone", name)
		}
	}
}

func messages(t *testing.T, path string) map[string]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	check(t, err)
	defer db.Close()
	rows, err := db.Query(`SELECT id, state FROM message`)
	check(t, err)
	defer rows.Close()
	found := map[string]string{}
	for rows.Next() {
		var id, state string
		check(t, rows.Scan(&id, &state))
		found[id] = state
	}
	check(t, rows.Err())
	return found
}

// The whole of it: what was backed up is there, what it replaces is kept, and what has
// nothing to do with it stays.
func TestRestore(t *testing.T) {
	dir := stopped(t, whole)
	path := backedUp(t, dir, func(r *bus.BackupRequest) { r.IncludeDeviceKey = true })
	was := tree(t, dir)
	store, err := openStore(t.Context(), Options{DataDir: dir, Logger: bustest.Logger(t)})
	check(t, err)
	write(t, store, `UPDATE message SET state = 'answered', reply = 'yes', finished_at = 9 WHERE id = 'two'`)
	write(t, store, `INSERT INTO message (id, session_id, text, state, received_at, finished_at) VALUES ('three', 1, 'since', 'answered', 5, 6)`)
	check(t, store.Close())
	check(t, os.WriteFile(filepath.Join(dir, "workspace", "notes", "b.txt"), []byte("b"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "vault.key"), []byte("key"), 0o600))
	_, _, err = RotateDevice(dir, func(string) {})
	check(t, err)
	before := tree(t, dir)

	r, err := restoreFrom(t, restoreOptions(t, dir), path)
	check(t, err)
	after := tree(t, dir)
	for _, name := range []string{"device.nk", "workspace/notes/a.txt", "workspace/notes", "workspace", "lock", "."} {
		if after[name] != was[name] {
			t.Errorf("%s is %q, and was %q", name, after[name], was[name])
		}
	}
	if after["workspace/notes/b.txt"] != "" || after["events"] != "" || after["vault.key"] != before["vault.key"] {
		t.Errorf("there is %v", after)
	}
	if got := messages(t, databasePath(dir)); len(got) != 2 || got["two"] != "answered" {
		t.Errorf("messages %v", got)
	}
	pre, err := filepath.Rel(dir, r.Pre)
	check(t, err)
	for _, name := range []string{"device.nk", "workspace/notes/b.txt", "events/jetstream/block", "blufio.db"} {
		if got := after[filepath.Join(pre, name)]; got != before[name] {
			t.Errorf("kept of %s: %q, want %q", name, got, before[name])
		}
	}
	if data, err := os.ReadFile(filepath.Join(r.ConfigDir, r.Config[0])); err != nil || !strings.Contains(string(data), "Ada") {
		t.Errorf("the configuration is %q, %v", data, err)
	}
	if r.Carried.Answered != 1 || r.Device != "restored" || r.Unread != "" {
		t.Errorf("report %+v", r)
	}
	reopened, err := openStore(t.Context(), Options{DataDir: dir, Logger: bustest.Logger(t)})
	check(t, err)
	check(t, reopened.Close())

	back, err := RestoreBack(t.Context(), restoreOptions(t, dir), pre)
	check(t, err)
	again := tree(t, dir)
	for _, name := range []string{"device.nk", "workspace/notes/b.txt", "events/jetstream/block"} {
		if again[name] != before[name] {
			t.Errorf("back: %s is %q, want %q", name, again[name], before[name])
		}
	}
	if got := messages(t, databasePath(dir)); len(got) != 3 {
		t.Errorf("back: messages %v", got)
	}
	if again[pre] != "" || back.Pre == r.Pre {
		t.Errorf("%s is still there: %v", pre, again)
	}
}

// A rehearsal leaves everything as it is, bit by bit, and says what would be done.
func TestRestoreRehearsed(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"over a stopped daemon": func(*testing.T, string) {},
		"over a log": func(t *testing.T, dir string) {
			db, err := sql.Open("sqlite", "file:"+databasePath(dir)+"?_pragma=journal_mode(WAL)")
			check(t, err)
			db.SetMaxOpenConns(1)
			_, err = db.Exec(`UPDATE message SET state = 'answered', finished_at = 6 WHERE id = 'two'`)
			check(t, err)
			left := t.TempDir()
			for _, end := range []string{"", "-wal"} { // as a crash leaves them
				data, err := os.ReadFile(databasePath(dir) + end)
				check(t, err)
				check(t, os.WriteFile(filepath.Join(left, "db"+end), data, 0o600))
			}
			check(t, db.Close())
			for _, end := range []string{"", "-wal"} {
				data, err := os.ReadFile(filepath.Join(left, "db"+end))
				check(t, err)
				check(t, os.WriteFile(databasePath(dir)+end, data, 0o600))
			}
		},
		"over nothing": func(t *testing.T, dir string) { check(t, os.RemoveAll(dir)); check(t, os.Mkdir(dir, 0o700)) },
		"over a running daemon": func(t *testing.T, dir string) {
			l, err := takeLock(dir)
			check(t, err)
			t.Cleanup(func() { check(t, l.release()) })
		},
		"over an older one": func(t *testing.T, dir string) {
			check(t, os.RemoveAll(dir))
			check(t, os.Rename(stopped(t, 1), dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := stopped(t, whole)
			path := backedUp(t, dir)
			prepare(t, dir)
			before := tree(t, dir)
			o := restoreOptions(t, dir)
			o.DryRun = true
			r, err := restoreFrom(t, o, path)
			check(t, err)
			unchanged(t, dir, before)
			if !r.DryRun || len(r.Puts) == 0 || r.Running != (name == "over a running daemon") || r.Unread != "" {
				t.Errorf("%+v", r)
			}
			if name == "over a running daemon" {
				return
			}
			o.DryRun = false
			did, err := restoreFrom(t, o, path)
			check(t, err)
			if name == "over a log" && did.Carried.Answered != 1 {
				t.Errorf("the log was not read: %+v", did.Carried)
			}
			if fmt.Sprint(did.Carried, did.Puts, did.Migrated) != fmt.Sprint(r.Carried, r.Puts, r.Migrated) {
				t.Errorf("said %+v, did %+v", r, did)
			}
		})
	}
}

// What cannot be restored is refused, and nothing is touched.
func TestRestoreRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string, archive *string)
		is      func(error) bool
		code    int
	}{
		"a running daemon": {func(t *testing.T, dir string, _ *string) {
			l, err := takeLock(dir)
			check(t, err)
			t.Cleanup(func() { check(t, l.release()) })
		}, func(err error) bool { var l *LockedError; return errors.As(err, &l) }, ExitLocked},
		"a flipped bit": {func(t *testing.T, _ string, path *string) {
			data, err := os.ReadFile(*path)
			check(t, err)
			data[len(data)/2] ^= 4
			check(t, os.WriteFile(*path, data, 0o600))
		}, func(err error) bool { return errors.Is(err, archive.ErrDamaged) }, 1},
		"half an archive": {func(t *testing.T, _ string, path *string) { check(t, os.Truncate(*path, 3000)) },
			func(err error) bool { return errors.Is(err, archive.ErrDamaged) }, 1},
		"something else": {func(t *testing.T, _ string, path *string) {
			check(t, os.WriteFile(*path, []byte("hello, hello, hello"), 0o600))
		},
			func(err error) bool { return errors.Is(err, archive.ErrNotArchive) }, 1},
		"a newer room": {func(t *testing.T, _ string, path *string) {
			*path = backedUp(t, altered(t, `INSERT INTO blufio_schema (room, version) VALUES ('tomorrow', 1)`))
		}, isNewer, ExitNewer},
		"newer tables": {func(t *testing.T, _ string, path *string) {
			*path = backedUp(t, altered(t, `UPDATE blufio_schema SET version = version + 1 WHERE room = 'agent'`))
		}, isNewer, ExitNewer},
		"a pending restore that is damaged": {func(t *testing.T, dir string, _ *string) {
			check(t, os.WriteFile(filepath.Join(dir, "restore.json"), []byte("{"), 0o600))
		}, func(err error) bool { return strings.Contains(err.Error(), "restore.json") }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := stopped(t, whole)
			path := backedUp(t, dir)
			c.prepare(t, dir, &path)
			before := tree(t, dir)
			_, err := restoreFrom(t, restoreOptions(t, dir), path)
			if err == nil || !c.is(err) || ExitCode(err) != c.code || strings.Contains(err.Error(), "\n") {
				t.Errorf("exit code %d: %v", ExitCode(err), err)
			}
			unchanged(t, dir, before)
		})
	}
}

func isNewer(err error) bool { var n *sqlite.NewerError; return errors.As(err, &n) }

// altered is a stopped daemon with a database that something was done to.
func altered(t *testing.T, text string) string {
	t.Helper()
	dir := stopped(t, whole)
	db, err := sql.Open("sqlite", "file:"+databasePath(dir))
	check(t, err)
	_, err = db.Exec(text)
	check(t, errors.Join(err, db.Close()))
	return dir
}

// An older archive is brought up to date, whatever step its tables were at, and over
// an older database too.
func TestRestoreMigrates(t *testing.T) {
	most := 0
	for _, s := range schemas() {
		most = max(most, len(s.Steps))
	}
	for steps := 1; steps < most; steps++ {
		for _, over := range []int{1, whole} {
			t.Run(fmt.Sprintf("step %d over %d", steps, over), func(t *testing.T) {
				path := backedUp(t, stopped(t, steps))
				dir := stopped(t, over)
				r, err := restoreFrom(t, restoreOptions(t, dir), path)
				check(t, err)
				if r.Unread != "" || r.Migrated["agent"] != [2]int{steps, most} && len(r.Migrated) == 0 || !r.Carried.Replaced {
					t.Errorf("%+v", r)
				}
				store, err := openStore(t.Context(), Options{DataDir: dir, Logger: bustest.Logger(t)})
				check(t, err)
				check(t, store.Close())
			})
		}
	}
}

// A replaced database that cannot be read does not keep the backup from being restored,
// and that is said.
func TestRestoreOverDamage(t *testing.T) {
	dir := stopped(t, whole)
	path := backedUp(t, dir)
	check(t, os.WriteFile(databasePath(dir), []byte(strings.Repeat("no database at all ", 500)), 0o600))
	for _, hold := range []bool{true, false} {
		o := restoreOptions(t, dir)
		o.DryRun, o.Hold = hold, hold
		r, err := restoreFrom(t, o, path)
		check(t, err)
		if r.Unread == "" || r.Carried.Replaced || hold && r.Carried.Held != 1 || !hold && r.Carried.Open != 1 {
			t.Errorf("%+v", r)
		}
	}
}

// Whoever gets the lock ends a restore that was cut off, and says so.
func TestServeEndsARestore(t *testing.T) {
	dir := stopped(t, whole)
	stage := filepath.Join(dir, restore.Staging)
	check(t, os.Mkdir(stage, 0o700))
	check(t, os.Rename(databasePath(stopped(t, whole)), databasePath(stage)))
	check(t, os.WriteFile(filepath.Join(dir, "restore.json"),
		[]byte(`{"format": 1, "pre": "pre-restore-20260101T000000Z", "from": "restore.new", "old": ["blufio.db", "events"], "new": ["blufio.db"]}`), 0o600))
	var said strings.Builder
	err := WithVault(t.Context(), Options{Config: Defaults(), DataDir: dir, Logger: bustest.Logger(t), Now: time.Now}, func(line string) { said.WriteString(line) }, func(*OfflineVault) error { return nil })
	check(t, err)
	if restore.Pending(dir) || !fileExists(filepath.Join(dir, "pre-restore-20260101T000000Z", "events", "jetstream", "block")) {
		t.Errorf("there is %v", tree(t, dir))
	}
	if !strings.Contains(said.String(), "the backup is in place") {
		t.Errorf("it says %q", said.String())
	}
}
