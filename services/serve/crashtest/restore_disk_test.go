// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onDisk puts a copy of the data directory on a file system of its own, which it is the
// root of. That needs root.
func (r restorable) onDisk(t *testing.T, options string) restorable {
	t.Helper()
	c := r.copied(t)
	disk := filepath.Join(c.dir, "disk")
	if err := os.Rename(c.data(), disk); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(c.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", c.data(), "tmpfs", 0, options)
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("nothing can be mounted: run as root (in CI this would fail)")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(c.data(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if out, err := exec.Command("cp", "-a", disk+"/.", c.data()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return c
}

// A data directory may be a mount point: the swap happens within it.
func TestRestoreOnAMountPoint(t *testing.T) {
	c := newRestorable(t).onDisk(t, "size=64m,mode=0700")
	c.run(t, "", 0, "restore", c.archive())
	c.want(t, "on a mount point", true)
}

// A disk without enough space is found out before anything is written, and one that is
// filled at any later moment leaves the old files.
func TestRestoreOnAFullDisk(t *testing.T) {
	r := newRestorable(t)
	t.Run("from the start", func(t *testing.T) {
		c := r.onDisk(t, "size=64m,mode=0700")
		fill(t, c.plan)
		if cmd := c.command("", "restore", c.archive()); cmd.Run() == nil {
			t.Error("restored without space")
		}
		c.want(t, "no space", false)
	})
	t.Run("under way", func(t *testing.T) {
		c := r.onDisk(t, "size=64m,mode=0700")
		outcomes := map[bool]int{}
		const moments = 12
		for i := range moments {
			if err := os.RemoveAll(c.data() + "/restored-config"); err != nil {
				t.Fatal(err)
			}
			restored := c.restoreWhileFilling(t, i, moments)
			outcomes[restored]++
			if restored {
				kept, err := filepath.Glob(filepath.Join(c.data(), "pre-restore-*"))
				if err != nil || len(kept) != 1 {
					t.Fatalf("kept %v, %v", kept, err)
				}
				c.run(t, "", 0, "restore", kept[0])
				if newer, _ := filepath.Glob(filepath.Join(c.data(), "pre-restore-*")); len(newer) == 1 {
					if err := os.RemoveAll(newer[0]); err != nil {
						t.Fatal(err)
					}
				}
				c.want(t, "back again", false)
			}
		}
		t.Logf("%d restores came through, %d did not", outcomes[true], outcomes[false])
	})
}

// restoreWhileFilling fills the disk as soon as the restore has come to some step, by what
// there is to be seen of it.
func (r restorable) restoreWhileFilling(t *testing.T, moment, moments int) (restored bool) {
	t.Helper()
	cmd := r.command("", "restore", r.archive())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stage := filepath.Join(r.data(), "restore.new")
	gone := make(chan error, 1)
	go func() { gone <- cmd.Wait() }()
	var err error
	for done := false; !done; {
		select {
		case err = <-gone:
			done = true
		case <-time.After(time.Millisecond):
			if _, statErr := os.Stat(stage); statErr != nil {
				continue
			}
			time.Sleep(time.Duration(moment) * 40 * time.Millisecond / time.Duration(moments)) // the moment itself
			fill(t, r.plan)
			err = <-gone
			done = true
		}
	}
	if err := os.Remove(filler(r.plan)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	r.goOn(t, 0)
	restored = r.marks(t)["messages"] == r.new["messages"]
	if restored != (err == nil) {
		t.Errorf("moment %d: restored %v, and the command ended with %v", moment, restored, err)
	}
	r.want(t, fmt.Sprintf("filled at moment %d", moment), restored)
	return restored
}

// A data directory that cannot be written is left as it is.
func TestRestoreOnAReadOnlyDisk(t *testing.T) {
	c := newRestorable(t).onDisk(t, "size=64m,mode=0700")
	if err := syscall.Mount("", c.data(), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	cmd := c.command("", "restore", c.archive())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "read-only file system") || strings.Count(string(out), "\n") > 2 {
		t.Errorf("%v: %s", err, out)
	}
	c.want(t, "read-only", false)
}

// Root restores for whom the data directory belongs to, also from a file that only root
// may read, and gives the configuration to nobody else.
func TestRestoreAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	const uid, gid = 12345, 54321
	c := newRestorable(t).copied(t)
	if err := os.Chmod(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(c.dir); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", uid, gid), c.data()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	private := filepath.Join(c.dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(private, "backup.tar.zst")
	if err := os.Rename(c.archive(), archive); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(private, "blufio.toml")
	c.run(t, "", 0, "restore", archive, "--config-to", taken)
	c.want(t, "as root", true)
	err := filepath.WalkDir(c.data(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if st.Uid != uid || st.Gid != gid || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is of %d:%d, mode %04o", path, st.Uid, st.Gid, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(taken)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration: %v, %v", info, err)
	}
}

// Who listens to events hears that they count anew.
func TestListenersHearOfARestore(t *testing.T) {
	c := newRestorable(t)
	d := start(t, c.plan, c.binary)
	d.awaitHealthy(t)
	cmd := c.command("", "events", "--since", "1h", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := make(chan map[string]any, 1000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			var line map[string]any
			if json.Unmarshal(scan.Bytes(), &line) == nil {
				lines <- line
			}
		}
	}()
	await := func(what string, is func(map[string]any) bool) {
		t.Helper()
		for limit := time.After(startLimit); ; {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("the listener ended before %s", what)
				}
				if is(line) {
					return
				}
			case <-limit:
				t.Fatalf("no %s", what)
			}
		}
	}
	answered := func(line map[string]any) bool { return line["event"] == "evt.turn.completed" }
	await("turn from before the backup", answered)
	await("turn from after it", answered)
	d.stop(t)
	c.run(t, "", 0, "restore", c.archive())
	d = start(t, c.plan, c.binary)
	d.awaitHealthy(t)
	c.run(t, "", 0, "send", "after the restore")
	await("new epoch", func(line map[string]any) bool { _, ok := line["epoch"]; return ok })
	await("turn from after the restore", answered)
	d.stop(t)
}
