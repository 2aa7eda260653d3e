// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The disk may become full before any of a restore's stages: then nothing has happened.
func TestRestoreOnADiskThatFills(t *testing.T) {
	path := backedUp(t, stopped(t, 1)) // whose tables have to be brought up to date
	for _, at := range []string{"read", "check", "carry over", "swap"} {
		t.Run(at, func(t *testing.T) {
			dir := onSmallDisk(t, stopped(t, whole))
			before := tree(t, dir)
			o := restoreOptions(t, dir)
			o.Stage = func(stage string) {
				if stage == at {
					fillDisk(t, dir)
				}
			}
			_, err := restoreFrom(t, o, path)
			if err == nil || !strings.Contains(err.Error(), "space") && !strings.Contains(err.Error(), "full") {
				t.Errorf("restored on a full disk: %v", err)
			}
			check(t, os.Remove(filepath.Join(dir, "filler")))
			unchanged(t, dir, before)
			o.Stage = nil
			_, err = restoreFrom(t, o, path)
			check(t, err)
		})
	}
}

// onSmallDisk moves a data directory to a file system of its own. That needs root.
func onSmallDisk(t *testing.T, dir string) string {
	t.Helper()
	disk := t.TempDir()
	err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=32m,mode=0700")
	if errors.Is(err, syscall.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("nothing can be mounted: run as root (in CI this would fail)")
	}
	check(t, err)
	t.Cleanup(func() { check(t, syscall.Unmount(disk, syscall.MNT_DETACH)) })
	out, err := exec.Command("cp", "-a", dir+"/.", disk).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return disk
}

func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return
	}
	check(t, err)
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; block = block[:len(block)/2] {
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
	}
}
