// SPDX-License-Identifier: MIT OR Apache-2.0

package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What lies in a data directory before a restore, and what the restore has for it.
// vault.key stays; a daemon's device key may be made anew while a swap waits.
var (
	oldFiles = map[string]string{"blufio.db": "old", "blufio.db-wal": "old log", "events/jetstream/1.blk": "old", "device.nk": "old key", "vault.key": "kept", "lock": ""}
	newFiles = map[string]string{"blufio.db": "new", "device.nk": "new key", "workspace/a/b": "new"}
	intent   = Intent{Format: format, Pre: "pre-restore-20260102T030405Z", From: Staging,
		Old: []string{"blufio.db", "blufio.db-wal", "blufio.db-shm", "events", "device.nk"}, New: []string{"blufio.db", "device.nk", "workspace"}}
)

func wantNew() map[string]string {
	want := maps.Clone(newFiles)
	want["vault.key"], want["lock"] = "kept", ""
	for _, name := range intent.Old {
		for path, text := range oldFiles {
			if path == name || strings.HasPrefix(path, name+"/") {
				want[filepath.Join(intent.Pre, path)] = text
			}
		}
	}
	return want
}

func lay(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range oldFiles {
		write(t, filepath.Join(dir, path), text)
	}
	for path, text := range newFiles {
		write(t, filepath.Join(dir, Staging, path), text)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if e.IsDir() {
			if some, err := os.ReadDir(path); err != nil || len(some) == 0 {
				found[name+"/"] = "empty"
				return err
			}
			return nil
		}
		data, err := os.ReadFile(path)
		found[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// crash is what ends a process of the test.
type crash struct{}

// cut runs a swap or a replay that makes only so many changes, and then crashes or
// fails: at that change alone, or at it and all that follow.
type cut struct {
	at      int
	crashes bool
	once    bool
}

var errCut = errors.New("cut")

func (c cut) run(dir string, use func(*disk) error) (crashed bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			if _, crashed = v.(crash); !crashed {
				panic(v)
			}
		}
	}()
	n := 0
	return false, open(dir, func(d *disk) error {
		d.fsync = unsynced
		d.before = func(string) error {
			switch n++; {
			case n < c.at, c.once && n > c.at:
				return nil
			case c.crashes:
				panic(crash{})
			}
			return errCut
		}
		return use(d)
	})
}

// unsynced makes the many tries quick: no power fails here.
func unsynced(*os.File) error { return nil }

func swap(d *disk) error   { return d.swap(intent) }
func replay(d *disk) error { _, err := d.replay(); return err }

// changes counts what a whole swap does.
func changes(t *testing.T, use func(*disk) error, prepare func(dir string)) int {
	t.Helper()
	dir := lay(t)
	prepare(dir)
	n := 0
	err := open(dir, func(d *disk) error {
		d.before = func(string) error { n++; return nil }
		return use(d)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSwap(t *testing.T) {
	dir := lay(t)
	if err := Swap(dir, intent); err != nil {
		t.Fatal(err)
	}
	same(t, "a swap", dir, wantNew())
	if did, err := Replay(dir); did != (Ended{}) || err != nil {
		t.Errorf("replayed afterwards: %v, %v", did, err)
	}
}

func same(t *testing.T, what, dir string, want map[string]string) {
	t.Helper()
	if got := read(t, dir); !maps.Equal(got, want) {
		t.Errorf("%s: there is\n%v, want\n%v", what, got, want)
	}
}

// A crash before any change leads to the old or to the new; so does one in the replay
// of it, and whatever a daemon makes in between that has not got the lock yet.
func TestCrashes(t *testing.T) {
	t.Parallel()
	total := changes(t, swap, func(string) {})
	if total < 15 {
		t.Fatalf("a swap makes only %d changes", total)
	}
	seen := map[Outcome]int{}
	for first := 1; first <= total; first++ {
		for second := 1; ; second++ {
			dir := lay(t)
			if crashed, err := (cut{at: first, crashes: true}).run(dir, swap); !crashed {
				t.Fatalf("no crash before change %d: %v", first, err)
			}
			stray(t, dir)
			crashed, err := (cut{at: second, crashes: true}).run(dir, replay)
			if err != nil {
				t.Fatal(err)
			}
			what := fmt.Sprintf("cut off before change %d, and in the replay before %d", first, second)
			seen[settle(t, what, dir)]++
			if !crashed {
				break
			}
		}
	}
	if seen[Nothing] == 0 || seen[Done] == 0 || seen[Undone] != 0 {
		t.Errorf("outcomes %v", seen)
	}
}

// stray is what `blufio serve` does before it has the lock.
func stray(t *testing.T, dir string) {
	t.Helper()
	if path := filepath.Join(dir, "device.nk"); !exists(path) {
		write(t, path, "stray")
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// settle replays to the end, and wants all of the one or of the other.
func settle(t *testing.T, what, dir string) Outcome {
	t.Helper()
	ended, err := Replay(dir)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	did, pre := ended.Outcome, ended.Pre
	if Pending(dir) {
		t.Errorf("%s: something is pending", what)
	}
	want := oldFiles
	if got := read(t, dir); got["blufio.db"] == "new" {
		want = wantNew()
	}
	if did == Done && (want["blufio.db"] != "new" || pre != intent.Pre) || did == Undone && want["blufio.db"] != "old" {
		t.Errorf("%s: told %q, %q", what, did, pre)
	}
	same(t, what, dir, want)
	if did == Nothing && want["blufio.db"] == "new" {
		return Done // by the one before
	}
	return did
}

// A change that fails turns the swap around, and a crash on the way back leads back too.
func TestFailures(t *testing.T) {
	t.Parallel()
	total := changes(t, swap, func(string) {})
	for first := 1; first <= total; first++ {
		dir := lay(t)
		crashed, err := (cut{at: first, once: true}).run(dir, swap)
		if crashed {
			t.Fatal("a failure is no crash")
		}
		what := fmt.Sprintf("change %d fails", first)
		if err == nil { // only what comes after the end may fail unheard
			settle(t, what, dir)
			if read(t, dir)["blufio.db"] != "new" {
				t.Errorf("%s: no error, and nothing restored", what)
			}
			continue
		}
		if !errors.Is(err, errCut) {
			t.Errorf("%s: %v", what, err)
		}
		if Pending(dir) {
			t.Errorf("%s: something is pending: %v", what, err)
		}
		if _, err := Replay(dir); err != nil { // as the next command does
			t.Error(err)
		}
		same(t, what, dir, oldFiles)
	}
}

// Where the way back fails as well, or is cut off, the next one ends it.
func TestFailureOnTheWayBack(t *testing.T) {
	t.Parallel()
	total := changes(t, swap, func(string) {})
	for first := 2; first <= total; first++ {
		for second := first + 1; ; second++ {
			dir := lay(t)
			n := 0
			crashed := false
			err := open(dir, func(d *disk) (err error) {
				defer func() {
					if v := recover(); v != nil {
						crashed = true
					}
				}()
				d.fsync = unsynced
				d.before = func(string) error {
					switch n++; {
					case n == first:
						return errCut
					case n == second:
						panic(crash{})
					}
					return nil
				}
				return d.swap(intent)
			})
			if !crashed {
				break
			}
			stray(t, dir)
			settle(t, fmt.Sprintf("change %d fails, cut off before %d: %v", first, second, err), dir)
		}
		dir := lay(t)
		if _, err := (cut{at: first}).run(dir, swap); err == nil && read(t, dir)["blufio.db"] != "new" {
			t.Errorf("all fails from change %d on, and no error", first)
		}
		settle(t, fmt.Sprintf("all fails from change %d on", first), dir)
	}
}

// A restore that came to no intent has left nothing that counts.
func TestNothingPending(t *testing.T) {
	dir := t.TempDir()
	for path, text := range oldFiles {
		write(t, filepath.Join(dir, path), text)
	}
	if did, err := Replay(dir); did != (Ended{}) || err != nil {
		t.Fatal(did, err)
	}
	write(t, filepath.Join(dir, Staging, "blufio.db"), "half")
	write(t, filepath.Join(dir, draftFile), "{")
	if did, err := Replay(dir); did != (Ended{}) || err != nil {
		t.Fatal(did, err)
	}
	same(t, "a restore cut off before its intent", dir, oldFiles)
}

// A replay that cannot go on goes back.
func TestReplayThatCannotGoOn(t *testing.T) {
	total := changes(t, swap, func(string) {})
	for first := 5; first <= total; first++ {
		dir := lay(t)
		if crashed, _ := (cut{at: first, crashes: true}).run(dir, swap); !crashed {
			t.Fatal("no crash")
		}
		if !Pending(dir) {
			continue
		}
		write(t, filepath.Join(dir, "workspace", "stranger"), "in the way")
		ended, err := Replay(dir)
		if err != nil {
			t.Fatal(err)
		}
		if exists(filepath.Join(dir, "workspace", "a")) { // it was in place before
			continue
		}
		if ended.Outcome != Undone || ended.Why == nil {
			t.Errorf("cut off before change %d: ended %+v", first, ended)
		}
		want := maps.Clone(oldFiles)
		want["workspace/stranger"] = "in the way"
		same(t, fmt.Sprintf("cut off before change %d", first), dir, want)
	}
}

func TestIntentsThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"damaged":       `{"format": 1, "pre": "pre-rest`,
		"empty":         ``,
		"newer":         `{"format": 2, "pre": "pre-restore-1", "from": "restore.new", "new": ["blufio.db"]}`,
		"elsewhere":     `{"format": 1, "pre": "pre-restore-1", "from": "restore.new", "new": ["../blufio.db"]}`,
		"from outside":  `{"format": 1, "pre": "pre-restore-1", "from": "/etc", "new": ["passwd"]}`,
		"to outside":    `{"format": 1, "pre": "../pre-restore-1", "from": "restore.new", "new": ["a"]}`,
		"the lock":      `{"format": 1, "pre": "pre-restore-1", "from": "restore.new", "old": ["lock"], "new": ["a"]}`,
		"itself":        `{"format": 1, "pre": "pre-restore-1", "from": "pre-restore-1", "new": ["a"]}`,
		"nothing":       `{"format": 1, "pre": "pre-restore-1", "from": "restore.new"}`,
		"a parent":      `{"format": 1, "pre": "pre-restore-1", "from": "restore.new", "new": [".."]}`,
		"another's pre": `{"format": 1, "pre": "keep", "from": "restore.new", "new": ["a"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := lay(t)
			write(t, filepath.Join(dir, forwardFile), text)
			before := read(t, dir)
			if did, err := Replay(dir); err == nil {
				t.Errorf("did %v", did)
			}
			same(t, name, dir, before)
			if err := Swap(dir, intent); err == nil {
				t.Error("swapped beside it")
			}
			same(t, name, dir, before)
		})
	}
}

// Nothing in the data directory leads a restore out of it.
func TestLinksLeadNowhere(t *testing.T) {
	for _, name := range []string{Staging, intent.Pre} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			write(t, filepath.Join(outside, "blufio.db"), "outside")
			dir := lay(t)
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if err := Swap(dir, intent); err == nil {
				t.Error("swapped by way of a link")
			}
			same(t, "outside", outside, map[string]string{"blufio.db": "outside"})
			if got := read2(dir, "blufio.db"); got != "old" {
				t.Errorf("the database is %q", got)
			}
		})
	}
}

func read2(dir, name string) string {
	data, _ := os.ReadFile(filepath.Join(dir, name))
	return string(data)
}

func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files for others")
	}
	dir := lay(t)
	if err := os.Chown(dir, 12345, 54321); err != nil {
		t.Fatal(err)
	}
	if err := Swap(dir, intent); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, intent.Pre))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 12345 || st.Gid != 54321 || info.Mode().Perm() != 0o700 {
		t.Errorf("%s is of %d:%d, mode %o", intent.Pre, st.Uid, st.Gid, info.Mode().Perm())
	}
}

func TestPreName(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	for _, want := range []string{"pre-restore-20260102T020405Z", "pre-restore-20260102T020405Z-2", "pre-restore-20260102T020405Z-3"} {
		got := PreName(dir, now)
		if got != want || !IsPre(got) {
			t.Errorf("got %s, want %s", got, want)
		}
		if err := os.Mkdir(filepath.Join(dir, got), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
