// SPDX-License-Identifier: MIT OR Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services"
	"golang.org/x/sys/unix"
)

// FileProbes look at the data directory as whoever runs the command line sees it.
func FileProbes(dir string, now func() time.Time) []services.Probe {
	return []services.Probe{{
		ID: "BLF-FILE-001", Title: "The data directory is its owner's alone", Place: services.Outside,
		Why: "it holds the database and the device key; who may read it has both",
		Fix: "`blufio doctor --fix`, or chmod 700 " + dir,
		Run: func(context.Context) services.Result { return dataDir(dir) },
	}, {
		ID: "BLF-FILE-002", Title: "The device key is there and private", Place: services.Outside,
		Why: "it is what the command line and the gateway's tokens are known by",
		Fix: "restore it from a backup, or move it away to get a new identity (issued tokens end)",
		Run: func(context.Context) services.Result { return deviceKey(dir) },
	}, {
		ID: "BLF-FILE-003", Title: "There is space on the disk", Place: services.Outside,
		Why: "on a full disk no message is accepted",
		Fix: "free some disk space",
		Run: func(context.Context) services.Result { return space(dir) },
	}, {
		ID: "BLF-FILE-004", Title: "The files in it are private", Place: services.Outside,
		Why: "they hold conversations; only their owner needs to read them",
		Fix: "`blufio doctor --fix`, or chmod 600 each of them",
		Run: func(context.Context) services.Result { return privacy(dir) },
	}, {
		ID: "BLF-FILE-005", Title: "Nothing is left over", Place: services.Outside,
		Why: "files that a crash left behind take space and say nothing true",
		Fix: "`blufio doctor --fix` removes them",
		Run: func(context.Context) services.Result { return leftovers(dir, now()) },
	}}
}

func dataDir(dir string) services.Result {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return services.Skip("%s does not exist yet: the daemon makes it at its first start", dir)
	case err != nil:
		return services.Fail("%v", err).WithFix("run as the owner of the data directory, or name yours with --data-dir")
	case !info.IsDir():
		return services.Fail("%s is not a directory", dir).WithFix("name a directory with --data-dir")
	}
	mode, uid := info.Mode().Perm(), ownerOf(info)
	switch {
	case errors.Is(unix.Access(dir, unix.W_OK), unix.EROFS):
		return services.Fail("%s is on a file system that takes no writes (read-only)", dir).WithFix("mount it for writing; after an error of the disk, see the kernel's log first")
	case uid != os.Geteuid() && os.Geteuid() != 0:
		return services.Fail("%s belongs to another user (uid %d)", dir, uid).WithFix("run as its owner, or name yours with --data-dir")
	case mode&^0o700 != 0:
		return services.Fail("%s is open to others (mode %04o)", dir, mode)
	case mode != 0o700:
		return services.Fail("%s does not let its owner do everything (mode %04o)", dir, mode)
	}
	return services.OK("%s, mode 0700", dir)
}

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

func deviceKey(dir string) services.Result {
	if r := dataDir(dir); r.Level == "fail" {
		return services.Skip("see BLF-FILE-001")
	}
	device, err := embedded.LoadDevice(dir)
	var key *embedded.KeyError
	switch {
	case errors.Is(err, fs.ErrNotExist) && !exists(filepath.Join(dir, "blufio.db")):
		return services.Skip("there is none yet: the daemon makes it at its first start")
	case errors.Is(err, fs.ErrNotExist):
		return services.Fail("%s is missing, beside a database that is there", filepath.Join(dir, "device.nk")).
			WithFix("restore it, if you have it; after a restore without it, or if it is lost, the daemon makes a new one at its next start: issue tokens and keys anew")
	case errors.As(err, &key):
		return services.Fail("%s: %s", key.Path, key.Problem).WithFix("%s", key.Fix)
	case err != nil:
		return services.Fail("%v", err)
	}
	return services.OK("%s…", device.PublicKey()[:8])
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Free space that is little, and too little.
const (
	littleSpace = 256 << 20
	noSpace     = 32 << 20
)

func space(dir string) services.Result {
	for !exists(dir) && dir != filepath.Dir(dir) { // not made yet: where it will be
		dir = filepath.Dir(dir)
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return services.Skip("how much is free is not known: %v", err)
	}
	free, all := int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize
	seen := fmt.Sprintf("%s of %s are free", bytes(free), bytes(all))
	switch {
	case free < noSpace:
		return services.Fail("%s", seen)
	case free < littleSpace:
		return services.Warn("%s", seen)
	case st.Files > 0 && st.Ffree < 1000:
		return services.Warn("%s, but only %d files more can be made", seen, st.Ffree)
	}
	return services.OK("%s", seen)
}

// privacy leaves the keys to their own checks.
func privacy(dir string) services.Result {
	open, err := OpenFiles(dir)
	open = slices.DeleteFunc(open, func(name string) bool { return name == "vault.key" })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return services.Skip("there are none yet")
	case err != nil:
		return services.Skip("they cannot be listed: %v", err)
	case len(open) > 0:
		return services.Warn("open to others: %s", strings.Join(open, ", "))
	}
	return services.OK("none is open to others")
}

// OpenFiles names the files of a data directory that others than their owner may
// read or write, but for the device key.
func OpenFiles(dir string) ([]string, error) {
	return inDir(dir, func(info fs.FileInfo) bool {
		return info.Name() != "device.nk" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
	})
}

// stale is how old a file has to be that is only made for a moment.
const stale = 10 * time.Minute

// Leftovers names what a crash left in a data directory.
func Leftovers(dir string, now time.Time) ([]string, error) {
	return inDir(dir, func(info fs.FileInfo) bool {
		name := info.Name()
		temporary := strings.HasPrefix(name, ".device-") || strings.HasPrefix(name, ".vault-") || strings.HasPrefix(name, ".doctor-") || name == "daemon.json.new" ||
			name == "blufio.db.new" || strings.HasPrefix(name, "blufio.db.new-")
		return temporary && info.Mode().IsRegular() && now.Sub(info.ModTime()) > stale
	})
}

func leftovers(dir string, now time.Time) services.Result {
	left, err := Leftovers(dir, now)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return services.Skip("there is no data directory yet")
	case err != nil:
		return services.Skip("the directory cannot be listed: %v", err)
	case len(left) > 0:
		return services.Info("left behind by a crash: %s", strings.Join(left, ", "))
	}
	return services.OK("nothing is")
}

// inDir names the entries of a directory that are as wanted, at most 20.
func inDir(dir string, want func(fs.FileInfo) bool) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && want(info) && len(names) < 20 {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// slowSync is what a disk needs that slows every answer down.
const (
	slowSync  = 100 * time.Millisecond
	syncTries = 5
)

// DiskProbes measure the disk below a data directory.
func DiskProbes(dir string) []services.Probe {
	return []services.Probe{{
		ID: "BLF-FILE-006", Title: "The disk is quick to store", Place: services.Either, Deep: true,
		Why: "every message, turn and answer waits for the disk",
		Fix: "see what else writes to this disk; a card or a network disk may be too slow for a database",
		Run: func(ctx context.Context) services.Result { return syncTime(ctx, dir) },
	}}
}

// syncTime writes and syncs a small file some times; the middle one counts.
func syncTime(ctx context.Context, dir string) services.Result {
	if !exists(dir) {
		return services.Skip("there is no data directory yet")
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return services.Fail("no file can be made: %v", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // found and removed as a leftover
	defer f.Close()           //nolint:errcheck // the file goes
	var took []time.Duration
	for range syncTries {
		began := time.Now()
		_, err := f.Write(make([]byte, 4096))
		if err = errors.Join(err, f.Sync(), ctx.Err()); err != nil {
			return services.Fail("a file of 4 KiB cannot be stored: %v", err)
		}
		took = append(took, time.Since(began))
	}
	median := middle(took)
	if median > slowSync {
		return services.Warn("4 KiB are stored in %s", short(median))
	}
	return services.OK("4 KiB are stored in %s", short(median))
}
