// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/doctor"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Repair is one thing that is safe to mend: nothing that anybody wrote is lost by it,
// and done twice it does nothing more.
type Repair struct {
	ID   string // of the check that finds it
	What string // will be done, as an imperative

	alone bool // only while no daemon holds the data directory
	do    func(ctx context.Context) error
}

// Repairs is what can be mended now. Nothing is changed yet.
func Repairs(e Exam) ([]Repair, error) {
	if uid := owner(e.DataDir); uid != os.Geteuid() {
		return nil, &NotOwnerError{Dir: e.DataDir, UID: uid}
	}
	info, err := os.Stat(e.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return append([]Repair{{ID: "BLF-FILE-001", What: "make " + e.DataDir + ", mode 0700",
			do: func(context.Context) error { return os.MkdirAll(e.DataDir, 0o700) }}}, e.secretRepairs()...), nil
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return e.secretRepairs(), nil
	}
	var all []Repair
	if info.Mode().Perm() != 0o700 {
		all = append(all, mode("BLF-FILE-001", e.DataDir, 0o700))
	}
	inside, err := e.fileRepairs()
	return append(append(all, inside...), e.secretRepairs()...), err
}

func mode(id, path string, m fs.FileMode) Repair {
	return Repair{ID: id, What: fmt.Sprintf("set the mode of %s to %04o", path, m), do: func(context.Context) error { return os.Chmod(path, m) }}
}

// fileRepairs are those of the files in the data directory.
func (e Exam) fileRepairs() (all []Repair, err error) {
	if info, err := os.Lstat(filepath.Join(e.DataDir, "device.nk")); err == nil && info.Mode().IsRegular() && info.Mode().Perm() != 0o600 {
		all = append(all, mode("BLF-FILE-002", filepath.Join(e.DataDir, "device.nk"), 0o600))
	}
	open, err := doctor.OpenFiles(e.DataDir)
	if err != nil {
		return all, err
	}
	for _, name := range open {
		all = append(all, mode("BLF-FILE-004", filepath.Join(e.DataDir, name), 0o600))
	}
	left, err := doctor.Leftovers(e.DataDir, e.Now())
	if err != nil {
		return all, err
	}
	for _, name := range left {
		all = append(all, e.remove(name))
	}
	if e.Locked {
		return all, nil
	}
	if _, err := os.Lstat(infoPath(e.DataDir)); err == nil { // of a daemon that ended without a goodbye
		all = append(all, e.remove("daemon.json"))
	}
	path := databasePath(e.DataDir)
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 && fileExists(path) {
		all = append(all, Repair{ID: "BLF-DB-004", What: "move the write-ahead log into the database", alone: true,
			do: func(ctx context.Context) error { return emptyLog(ctx, path) }})
	}
	return all, nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (e Exam) remove(name string) Repair {
	path := filepath.Join(e.DataDir, name)
	return Repair{ID: "BLF-FILE-005", What: "remove " + path, alone: true, do: func(context.Context) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}}
}

// emptyLog opens the database for writing and closes it in good order.
func emptyLog(ctx context.Context, path string) error {
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, Readers: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return store.Close()
}

// secretRepairs are those of the configuration files that hold secrets. One that is not
// the data directory's owner's is left alone: the daemon may read it as anybody.
func (e Exam) secretRepairs() (all []Repair) {
	_, loaded, err := Load(e.Sources)
	if err != nil {
		return nil
	}
	for _, path := range openSecrets(loaded) {
		if owner(path) == owner(e.DataDir) {
			all = append(all, mode("BLF-CFG-003", path, 0o600))
		}
	}
	return all
}

// owner is the user whose file it is; that of a file that is not there is ours.
func owner(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return os.Geteuid()
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(st.Uid)
}

// NotOwnerError: what is made in a data directory has to be its owner's.
type NotOwnerError struct {
	Dir string
	UID int
}

func (e *NotOwnerError) Error() string {
	return fmt.Sprintf("%s belongs to another user (uid %d)", e.Dir, e.UID)
}

// openSecrets are the files that set a secret and that anybody may read.
func openSecrets(loaded *config.Loaded) (open []string) {
	for _, path := range secretFiles(loaded) {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o007 != 0 {
			open = append(open, path)
		}
	}
	return open
}

// Mend makes the repairs, and tells of each what came of it. It holds the data
// directory's lock, so that no daemon starts meanwhile; while one runs, what needs the
// directory alone is refused. What became of a restore that had been cut off is said.
func Mend(ctx context.Context, e Exam, repairs []Repair, say func(line string), told func(Repair, error)) error {
	var held *lock
	for _, r := range repairs {
		if held == nil && !e.Locked && fileExists(e.DataDir) {
			var err error
			if held, err = takeLock(e.DataDir); err != nil {
				return err
			}
			held.say(say)
		}
		switch {
		case r.alone && e.Locked:
			told(r, errors.New("a daemon runs: stop it first"))
		case ctx.Err() != nil:
			told(r, ctx.Err())
		default:
			told(r, r.do(ctx))
		}
	}
	if held == nil {
		return nil
	}
	return held.release()
}
