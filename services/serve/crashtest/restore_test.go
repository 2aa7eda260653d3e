// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// restorable is a stopped daemon's directory, and a backup of it from before it became
// what it is. Copies of it are restored, and killed meanwhile.
type restorable struct {
	plan
	binary string
	old    map[string]string // what tells the old files from the new
	new    map[string]string
}

func (p plan) archive() string { return filepath.Join(p.dir, "backup.tar.zst") }
func (p plan) file() string    { return filepath.Join(p.data(), "workspace", "file") }

func newRestorable(t *testing.T) restorable {
	t.Helper()
	p := plan{dir: t.TempDir()}
	if err := os.WriteFile(p.config(), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	r := restorable{plan: p, binary: build(t, armed)}
	r.run(t, "", 0, "config", "set-secret", "one.secret")
	d := start(t, p, r.binary)
	d.awaitHealthy(t)
	r.run(t, "", 0, "send", "before the backup")
	r.say(t, "before")
	r.run(t, "", 0, "backup", p.archive(), "--include-device-key", "--include-workspace")
	r.new = r.marks(t)
	r.run(t, "", 0, "send", "after the backup")
	r.say(t, "after")
	d.stop(t)
	r.run(t, "", 0, "keys", "rotate-device", "--yes")
	r.old = r.marks(t)
	for _, name := range []string{"messages", "device.nk", "file"} {
		if r.old[name] == r.new[name] {
			t.Fatalf("%s does not tell the old from the new: %q", name, r.old[name])
		}
	}
	return r
}

func (r restorable) say(t *testing.T, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.file()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// marks are what tells one set of files from another.
func (p plan) marks(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for name, path := range map[string]string{"device.nk": filepath.Join(p.data(), "device.nk"), "vault.key": filepath.Join(p.data(), "vault.key"), "file": p.file()} {
		data, err := os.ReadFile(path)
		if err != nil {
			data = []byte(err.Error())
		}
		found[name] = string(data)
	}
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: p.database(), ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var texts string
	if err := store.QueryRow(t.Context(), `SELECT group_concat(text) FROM (SELECT text FROM message ORDER BY seq)`).Scan(&texts); err != nil {
		t.Fatal(err)
	}
	found["messages"] = texts
	return found
}

// copied is a copy to be restored.
func (r restorable) copied(t *testing.T) restorable {
	t.Helper()
	c := r
	c.plan = plan{dir: t.TempDir()}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", r.dir+"/.", c.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return c
}

// run runs a command and wants its exit code, or with -1 that it killed itself.
func (r restorable) run(t *testing.T, failpoint string, code int, args ...string) string {
	t.Helper()
	cmd := r.command(failpoint, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case code == -1:
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%v did not die at %s: %v\n%s%s", args, failpoint, err, out, &stderr)
		}
	case cmd.ProcessState.ExitCode() != code:
		t.Fatalf("%v: exit code %d, want %d\n%s%s", args, cmd.ProcessState.ExitCode(), code, out, &stderr)
	}
	return string(out)
}

func (r restorable) command(failpoint string, args ...string) *exec.Cmd {
	cmd := exec.Command(r.binary, append(args, "--data-dir", r.data(), "--config", r.config())...)
	cmd.Env = []string{"HOME=" + r.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + r.dir, "BLUFIO_FAILPOINT=" + failpoint}
	cmd.Stdin = strings.NewReader("some value of a secret\n")
	return cmd
}

// want wants all of the one or of the other, nothing left of the way, and after a
// restore the old files where they are kept.
func (r restorable) want(t *testing.T, what string, restored bool) {
	t.Helper()
	want := r.old
	if restored {
		want = r.new
	}
	for name, got := range r.marks(t) {
		if got != want[name] {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want[name])
		}
	}
	if left := r.left(t); len(left) > 0 {
		t.Errorf("%s: left behind: %v", what, left)
	}
	kept, err := filepath.Glob(filepath.Join(r.data(), "pre-restore-*"))
	if err != nil || restored == (len(kept) == 0) {
		t.Errorf("%s: old files in %v, %v", what, kept, err)
	}
	if restored {
		r.wantKept(t, what, kept[0])
	}
}

func (r restorable) left(t *testing.T) (left []string) {
	t.Helper()
	entries, err := os.ReadDir(r.data())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "restored-config" && strings.HasPrefix(name, "restore") {
			left = append(left, name)
		}
	}
	return left
}

// wantKept wants the old files to be whole: it opens them.
func (r restorable) wantKept(t *testing.T, what, dir string) {
	t.Helper()
	kept := plan{dir: t.TempDir()}
	if err := os.Symlink(dir, kept.data()); err != nil {
		t.Fatal(err)
	}
	for name, got := range kept.marks(t) {
		if name != "vault.key" && got != r.old[name] {
			t.Errorf("%s: the old %s is %q, want %q", what, name, got, r.old[name])
		}
	}
}

// goOn is what somebody does next who knows nothing of the restore that was cut off.
func (r restorable) goOn(t *testing.T, how int) {
	t.Helper()
	if how%2 == 0 {
		r.run(t, "", 0, "config", "set-secret", "two.secret")
		return
	}
	d := start(t, r.plan, r.binary)
	d.awaitHealthy(t)
	d.stop(t)
}

// A restore that dies at any of its steps has happened or not, once somebody looks: never
// by half, and the old files are never lost.
func TestRestoreSurvivesAKill(t *testing.T) {
	r := newRestorable(t)
	names := failpoint.RestoreNames()
	committed := false
	for i, name := range names[:slices.Index(names, "restore.turned-back")] {
		committed = committed || name == "restore.intent-written"
		for n := 1; n <= times(name); n++ {
			at, restored := fmt.Sprintf("%s:%d", name, n), committed
			t.Run(at, func(t *testing.T) {
				t.Parallel()
				c := r.copied(t)
				c.run(t, at, -1, "restore", c.archive())
				c.goOn(t, i)
				c.want(t, at, restored)
				if !restored {
					c.run(t, "", 0, "restore", c.archive())
					c.want(t, "again", true)
				}
			})
		}
	}
}

// times is how often a restore here comes by.
func times(name string) int {
	switch name {
	case "restore.old-moved":
		return 5 // as many names are listed, whether they are there or not
	case "restore.new-moved":
		return 4
	}
	return 1
}

// A restore that cannot go on goes back, and may die on that way too.
func TestRestoreSurvivesAKillOnTheWayBack(t *testing.T) {
	r := newRestorable(t)
	names := failpoint.RestoreNames()
	for _, name := range names[slices.Index(names, "restore.turned-back"):] {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := r.copied(t)
			if err := os.RemoveAll(filepath.Dir(c.file())); err != nil {
				t.Fatal(err)
			}
			c.run(t, "restore.new-moved:2", -1, "restore", c.archive())
			inTheWay(t, filepath.Dir(c.file()))
			c.say(t, "in the way")
			lists := []string{"config", "set-secret", "two.secret"}
			if name == "restore.back-replayed" {
				c.run(t, "restore.old-returned", -1, lists...)
			}
			c.run(t, name, -1, lists...)
			c.run(t, "", 0, lists...)
			c.old = map[string]string{"messages": r.old["messages"], "device.nk": r.old["device.nk"], "vault.key": r.old["vault.key"], "file": "in the way"}
			c.want(t, name, false)
		})
	}
}

// To go back to the old files is a restore like any other.
func TestRestoringTheOldFilesSurvivesAKill(t *testing.T) {
	r := newRestorable(t)
	r.run(t, "", 0, "restore", r.archive())
	kept, err := filepath.Glob(filepath.Join(r.data(), "pre-restore-*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("old files in %v, %v", kept, err)
	}
	for _, name := range []string{"restore.intent-written", "restore.old-moved:3", "restore.new-moved:2", "restore.new-synced", "restore.intent-removed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := r.copied(t)
			c.run(t, name, -1, "restore", filepath.Join(c.data(), filepath.Base(kept[0])))
			c.goOn(t, 0)
			if got := c.marks(t); got["messages"] != r.old["messages"] || got["device.nk"] != r.old["device.nk"] || got["file"] != r.old["file"] {
				t.Errorf("there is %v", got)
			}
			if left := c.left(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// inTheWay makes something of a directory that cannot be moved. That needs root.
func inTheWay(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700")
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("nothing can be mounted: run as root (in CI this would fail)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// Kills at moments that nobody has chosen.
func TestRestoreSurvivesRandomKills(t *testing.T) {
	r := newRestorable(t)
	seed := uint64(number(t, "CRASH_SEED", int(rand.Uint32())+1))
	t.Logf("CRASH_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 8))
	began := time.Now()
	whole := r.copied(t)
	whole.run(t, "", 0, "restore", whole.archive())
	took := time.Since(began)
	outcomes := map[bool]int{}
	for i := range longer(10, 100) {
		c := r.copied(t)
		cmd := c.command("", "restore", c.archive())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(took) * 5 / 4))) // the moment itself
		_ = cmd.Process.Kill()                                     // it may have ended
		_ = cmd.Wait()
		c.goOn(t, i)
		restored := c.marks(t)["messages"] == c.new["messages"]
		c.want(t, fmt.Sprintf("kill %d", i), restored)
		outcomes[restored]++
	}
	t.Logf("a restore takes %s; %d kills left the old, %d the new", took.Round(time.Millisecond), outcomes[false], outcomes[true])
}
