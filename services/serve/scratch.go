// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// scratch is a directory for copies of what is private. It is locked while it is used, so
// that what a killed process has left of one can be told and removed.
type scratch struct {
	path string
	lock *os.File
}

// newScratch makes one in dir, and removes those that nobody uses. pattern is as
// os.MkdirTemp has it.
func newScratch(dir, pattern string) (*scratch, error) {
	if left, err := filepath.Glob(filepath.Join(dir, pattern)); err == nil {
		for _, path := range left {
			if s, err := lockScratch(path); err == nil {
				_ = s.remove() // another's may stay
			}
		}
	}
	for range scratchTries {
		path, err := os.MkdirTemp(dir, pattern)
		if err != nil {
			return nil, err
		}
		if s, err := lockScratch(path); err == nil {
			return s, nil
		}
		_ = os.Remove(path) // another may have taken it for one that was left
	}
	return nil, fmt.Errorf("make a directory in %s: others remove it", dir)
}

// scratchTries is how often another may come between making a directory and locking it.
const scratchTries = 100

func lockScratch(path string) (*scratch, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return nil, errors.Join(err, syscall.ENOTDIR)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(info, now) { // removed by who had it before
		return nil, errors.Join(syscall.ENOENT, f.Close())
	}
	return &scratch{path, f}, nil
}

func (s *scratch) remove() error { return errors.Join(os.RemoveAll(s.path), s.lock.Close()) }
