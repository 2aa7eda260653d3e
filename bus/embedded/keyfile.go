// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	keyFile    = "device.nk"
	maxKeyFile = 1024 // bytes; a seed has 58
)

// KeyError says why the device key cannot be used and what mends it. Starting
// on a key that others may have read would be worse than not starting, so
// the daemon ends with exit code 77 on it.
type KeyError struct {
	Key     string // which key; "" is the device key
	Path    string // the file or directory at fault
	Problem string // what is wrong with it, in one clause
	Fix     string // a command or an instruction
	Err     error  // the cause, where there is one
}

// Error is one line without the fix, which the command line prints as a hint.
func (e *KeyError) Error() string {
	return fmt.Sprintf("%s %s: %s", cmp.Or(e.Key, "device key"), e.Path, e.Problem)
}

// Unwrap returns the cause, so that a missing file is fs.ErrNotExist.
func (e *KeyError) Unwrap() error { return e.Err }

// LoadOrCreateDevice returns the key in dir/device.nk, making the directory
// (0700) and the key (0600) when they are not there. Two processes that start
// at once get the same key. Errors about the key itself are *KeyError.
func LoadOrCreateDevice(dir string) (*Device, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	d, err := LoadDevice(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	if err := createKey(dir); err != nil {
		return nil, fmt.Errorf("create device key: %w", err)
	}
	// What is on disk counts: another process may have been faster.
	return LoadDevice(dir)
}

// RotateDevice replaces the key in dir/device.nk by a new one, whole and on disk, and
// returns that. Gateway tokens that the old one signed are not valid any more.
func RotateDevice(dir string) (*Device, error) {
	if _, err := LoadDevice(dir); err != nil { // its modes, too
		return nil, err
	}
	temp, err := writeKey(dir)
	if err == nil {
		err = os.Rename(temp, filepath.Join(dir, keyFile))
	}
	if err != nil {
		if temp != "" {
			_ = os.Remove(temp) // a leftover is private and harmless
		}
		return nil, fmt.Errorf("replace device key: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return LoadDevice(dir)
}

// LoadDevice returns the key in dir/device.nk and never makes one. A missing
// key is a *KeyError that wraps fs.ErrNotExist.
func LoadDevice(dir string) (*Device, error) {
	dirInfo, err := os.Stat(dir)
	if err != nil {
		return nil, openProblem(dir, err)
	}
	if !dirInfo.IsDir() {
		return nil, &KeyError{Path: dir, Problem: "not a directory", Fix: "name a directory as the data directory"}
	}
	if wide := dirInfo.Mode().Perm() &^ 0o700; wide != 0 {
		return nil, &KeyError{Path: dir, Problem: fmt.Sprintf("the directory is open to others (mode %04o)", dirInfo.Mode().Perm()),
			Fix: "if it is blufio's own, chmod 700 " + dir + "; else name another data directory"}
	}
	path := filepath.Join(dir, keyFile)
	text, err := readKey(path, owner(dirInfo))
	if err != nil {
		return nil, err
	}
	d, err := parseDevice(bytes.TrimSpace(text))
	clear(text)
	if err != nil {
		return nil, &KeyError{Path: path, Problem: "the file is not a device key", Err: err,
			Fix: "restore it from a backup, or move it away to get a new identity (issued tokens end)"}
	}
	return d, nil
}

// NewOperator makes a key for [Config.Operator] and writes it to path, for the owner and
// the group of the process to read. Whatever was there is replaced.
func NewOperator(path string) (*Device, error) {
	temp, err := writeKey(filepath.Dir(path))
	if err == nil {
		err = errors.Join(os.Chmod(temp, 0o640), os.Rename(temp, path)) // no umask counts
	}
	if err != nil {
		if temp != "" {
			_ = os.Remove(temp) // a leftover is private and harmless
		}
		return nil, fmt.Errorf("write operator's key: %w", err)
	}
	return LoadOperator(path)
}

// LoadOperator reads the key that [NewOperator] wrote.
func LoadOperator(path string) (*Device, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read operator's key: %w", err)
	}
	defer clear(text)
	d, err := parseDevice(bytes.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("read operator's key %s: %w", path, err)
	}
	return d, nil
}

// readKey reads the file at path once it is seen to be a plain private file.
func readKey(path string, dirUID int) ([]byte, error) {
	// A symlink could lead to a file that others write, and opening a named
	// pipe would wait for ever, hence the two flags.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, openProblem(path, err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, openProblem(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &KeyError{Path: path, Problem: "not a regular file", Fix: "move it away to get a new key"}
	}
	if info.Mode().Perm()&^0o600 != 0 {
		return nil, &KeyError{Path: path, Problem: fmt.Sprintf("the key is open to others (mode %04o)", info.Mode().Perm()),
			Fix: "chmod 600 " + path}
	}
	if uid := owner(info); !mayOwn(uid, dirUID, os.Geteuid()) {
		return nil, &KeyError{Path: path, Problem: fmt.Sprintf("the key belongs to another user (uid %d)", uid),
			Fix: fmt.Sprintf("chown %d %s", dirUID, path)}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, openProblem(path, err)
	}
	return text, nil
}

// mayOwn says whether a key owned by uid serves a process run by euid: its
// own, and for root also that of whoever owns the data directory.
func mayOwn(uid, dirUID, euid int) bool {
	return uid == euid || euid == 0 && uid == dirUID
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// openProblem turns an error of the file system into a KeyError.
func openProblem(path string, err error) error {
	e := &KeyError{Path: path, Problem: "cannot be read: " + cause(err), Fix: "check the file system", Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Problem, e.Fix = "does not exist", "start the daemon once, or name the right data directory"
	case errors.Is(err, fs.ErrPermission):
		e.Problem, e.Fix = "may not be read by this user", "run as the owner of the data directory"
	case errors.Is(err, syscall.ELOOP):
		e.Problem, e.Fix = "a symbolic link", "put the key itself in its place"
	}
	return e
}

// cause is the bare reason in an error of package os, without its path.
func cause(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// createKey puts a new key in place, whole and on disk, unless there is one.
// A hard link does what rename cannot: it never replaces the key of a
// process that was faster.
func createKey(dir string) error {
	temp, err := writeKey(dir)
	if temp != "" {
		defer os.Remove(temp) //nolint:errcheck // a leftover is private and harmless
	}
	if err != nil {
		return err
	}
	if err := os.Link(temp, filepath.Join(dir, keyFile)); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("put key in place: %w", err)
	}
	return syncDir(dir)
}

// writeKey writes a new key to a temporary file (0600) and returns its name.
func writeKey(dir string) (string, error) {
	seed, err := newSeed()
	if err != nil {
		return "", err
	}
	defer clear(seed)
	f, err := os.CreateTemp(dir, ".device-*")
	if err != nil {
		return "", fmt.Errorf("open temporary key: %w", err)
	}
	_, err = f.Write(append(seed, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return f.Name(), fmt.Errorf("write temporary key: %w", err)
	}
	return f.Name(), nil
}

// syncDir makes the names in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
