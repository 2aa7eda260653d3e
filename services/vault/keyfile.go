// SPDX-License-Identifier: MIT OR Apache-2.0

package vault

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

const maxKeyFile = 64 << 10 // bytes; one of ours has 45, and systemd's bound is 1 MB

// keyFile is vault.key, and beside it the next one while the vault is rotated.
type keyFile struct{ path string }

func (f keyFile) next() string { return f.path + ".new" }

// there reports whether a key is in place, of use or not.
func (f keyFile) there() bool {
	_, err := os.Lstat(f.path)
	return err == nil
}

// read returns the key in place, nil when there is none.
func (f keyFile) read() (*material, error) { return f.readAt(f.path) }

func (f keyFile) readAt(path string) (*material, error) {
	data, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m := &material{source: bus.KeyFile, kdf: kdfHKDF, bytes: withoutLineEnd(data), path: path}
	return m, m.check()
}

// create puts a new key at path, whole and on disk. It never replaces one.
func (f keyFile) create(path string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".vault-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make %s: %w", path, pathless(err))
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // a leftover is private and opens nothing
	_, err = temp.WriteString(base64.StdEncoding.EncodeToString(random(keySize)) + "\n")
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("make %s: %w", path, pathless(err))
	}
	if err := os.Link(temp.Name(), path); err != nil {
		return fmt.Errorf("make %s: %w", path, pathless(err))
	}
	return sqlite.SyncDir(filepath.Dir(path))
}

// remake is create for the next key, of which one may be left behind.
func (f keyFile) remake() (*material, error) {
	if err := f.dropNext(); err != nil {
		return nil, err
	}
	if err := f.create(f.next()); err != nil {
		return nil, err
	}
	return f.readAt(f.next())
}

// adopt puts the next key in its place.
func (f keyFile) adopt() error {
	if err := os.Rename(f.next(), f.path); err != nil {
		return fmt.Errorf("put %s in place: %w", f.path, pathless(err))
	}
	return sqlite.SyncDir(filepath.Dir(f.path))
}

// dropNext removes a next key that opens nothing.
func (f keyFile) dropNext() error {
	if err := os.Remove(f.next()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", f.next(), pathless(err))
	}
	return nil
}

// readPrivate reads a file that is plain, its owner's alone, and ours.
func readPrivate(path string) ([]byte, error) {
	// A symbolic link could lead to a file that others write, and opening a named
	// pipe would wait for ever.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, pathless(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, pathless(err)
	}
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Mode().Perm()&^0o600 != 0:
		return nil, fmt.Errorf("it is open to others (mode %04o); chmod 600 it, and rotate the key if it may have been read", info.Mode().Perm())
	case uid != os.Geteuid() && os.Geteuid() != 0:
		return nil, fmt.Errorf("it belongs to another user (uid %d)", uid)
	}
	return read(file)
}

// readBounded reads a file that somebody else looks after.
func readBounded(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("it is not a regular file"), err)
	}
	return read(file)
}

func read(file *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err == nil && len(data) > maxKeyFile {
		err = fmt.Errorf("it has more than %d bytes", maxKeyFile)
	}
	return data, err
}

// pathless leaves an error's path to whoever words it.
func pathless(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}
