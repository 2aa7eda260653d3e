// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
	"golang.org/x/sys/unix"
)

// Pending is a file that is being written under another name, path.partial, until it is whole.
type Pending struct {
	path  string
	force bool
	f     *os.File // nil: committed or aborted
}

// Create begins a file that is to be at path, mode 0600. It fails with [fs.ErrExist] when something is there, unless
// force is set, and when another process is writing the same. What a killed one left is replaced.
func Create(path string, force bool) (*Pending, error) {
	p := &Pending{path: path, force: force}
	if err := p.create(); err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return p, nil
}

func (p *Pending) create() error {
	switch info, err := os.Lstat(p.path); {
	case err == nil && info.IsDir():
		return fmt.Errorf("%w: it is a directory", fs.ErrExist)
	case err == nil && !p.force:
		return fs.ErrExist
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := removeLeft(p.Partial()); err != nil {
		return err
	}
	f, err := os.OpenFile(p.Partial(), os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	p.f = f
	if err := lockFile(f); err != nil {
		return errors.Join(err, f.Close())
	}
	failpoint.Hit("backup.created")
	return nil
}

var errWriting = errors.New("another process is writing it")

// removeLeft removes what a killed process left. One that lives has it locked.
func removeLeft(partial string) error {
	f, err := os.OpenFile(partial, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", partial)
	}
	if err := lockFile(f); err != nil {
		return err
	}
	if now, err := os.Lstat(partial); err != nil || !os.SameFile(now, info) {
		return errWriting
	}
	return os.Remove(partial)
}

// lockFile marks f as being written for as long as it is open. Some file systems know no locks.
func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errWriting
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EINVAL):
		return nil
	}
	return err
}

// Write appends to the file.
func (p *Pending) Write(b []byte) (int, error) {
	if p.f == nil {
		return 0, fs.ErrClosed
	}
	return p.f.Write(b)
}

// Partial is where the file is until Commit.
func (p *Pending) Partial() string { return p.path + ".partial" }

// Sync brings what was written to the disk. Then it may be read at Partial, to verify it before Commit.
func (p *Pending) Sync() error {
	if p.f == nil {
		return fs.ErrClosed
	}
	err := p.f.Sync()
	failpoint.Hit("backup.synced")
	return err
}

// Commit syncs the file, gives it its name, and syncs the directory. Without force something that
// has come to be at path meanwhile is not replaced: [fs.ErrExist]. After an error call Abort.
func (p *Pending) Commit() error {
	if err := p.commit(); err != nil {
		return fmt.Errorf("finish %s: %w", p.path, err)
	}
	return nil
}

func (p *Pending) commit() error {
	if err := p.Sync(); err != nil {
		return err
	}
	if err := p.ours(); err != nil {
		return err
	}
	if err := p.publish(); err != nil {
		return err
	}
	failpoint.Hit("backup.named")
	err := p.f.Close()
	p.f = nil
	if err = errors.Join(err, sqlite.SyncDir(filepath.Dir(p.path))); err != nil {
		err = fmt.Errorf("it is whole and in its place, but may be gone after a power cut: %w", err)
	}
	failpoint.Hit("backup.listed")
	return err
}

// ours makes sure that nobody has put another file at Partial.
func (p *Pending) ours() error {
	mine, err := p.f.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(p.Partial()); err != nil || !os.SameFile(now, mine) {
		return fmt.Errorf("somebody has taken %s away", p.Partial())
	}
	return nil
}

func (p *Pending) publish() error {
	if p.force {
		return os.Rename(p.Partial(), p.path)
	}
	err := unix.Renameat2(unix.AT_FDCWD, p.Partial(), unix.AT_FDCWD, p.path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system, or a sandbox, that cannot
		if _, err := os.Lstat(p.path); err == nil {
			return fs.ErrExist
		}
		return os.Rename(p.Partial(), p.path)
	}
	return err
}

// Abort removes the file. After Commit, or a second time, it does nothing.
func (p *Pending) Abort() error {
	if p.f == nil {
		return nil
	}
	err := p.ours()
	if err == nil {
		err = os.Remove(p.Partial())
	}
	err = errors.Join(err, p.f.Close())
	p.f = nil
	return err
}
