// SPDX-License-Identifier: MIT OR Apache-2.0

package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// disk is a data directory and the changes that are made in it, one at a time. What
// lies in there leads nowhere else: it is opened as a root.
type disk struct {
	root   *os.Root
	dir    string
	before func(change string) error // for tests: hears of each change before it is made
	fsync  func(*os.File) error
}

func open(dir string, use func(*disk) error) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return use(&disk{root: root, dir: dir, fsync: (*os.File).Sync})
}

// about says what is done next.
func (d *disk) about(format string, args ...any) error {
	if d.before == nil {
		return nil
	}
	return d.before(fmt.Sprintf(format, args...))
}

// writeIntent puts the whole of it in its place, on disk.
func (d *disk) writeIntent(in Intent) error {
	data, err := json.MarshalIndent(in, "", "  ")
	if err != nil {
		return err
	}
	if err := d.about("write %s", draftFile); err != nil {
		return err
	}
	f, err := d.root.OpenFile(draftFile, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, d.fsync(f), f.Close()); err != nil {
		return err
	}
	if err := d.own(draftFile); err != nil {
		return err
	}
	if err := d.rename(draftFile, forwardFile); err != nil {
		return err
	}
	return d.sync(".")
}

// dropIntent is for one that is not written for sure.
func (d *disk) dropIntent() error {
	for _, name := range []string{forwardFile, draftFile} {
		if err := d.remove(name); err != nil {
			return err
		}
	}
	return d.sync(".")
}

// leave moves a name out of the data directory, unless it is where it goes: then what
// is in the data directory is another.
func (d *disk) leave(name, to string) error {
	if there, err := d.has(to, name); err != nil || there {
		return err
	}
	return d.move(name, ".", to)
}

// enter moves a name into the data directory, over what has no business there.
func (d *disk) enter(name, from string) error { return d.move(name, from, ".") }

// move moves what is there.
func (d *disk) move(name, from, to string) error {
	if there, err := d.has(from, name); err != nil || !there {
		return err
	}
	return d.rename(filepath.Join(from, name), filepath.Join(to, name))
}

// present are those of names that are there. An intent has no others: when it is replayed
// a file of such a name would be a new one, and be taken for an old one.
func (d *disk) present(names []string) (there []string, err error) {
	for _, name := range names {
		has, err := d.has(".", name)
		if err != nil {
			return nil, err
		}
		if has {
			there = append(there, name)
		}
	}
	return there, nil
}

func (d *disk) has(dir, name string) (bool, error) {
	_, err := d.root.Lstat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (d *disk) rename(from, to string) error {
	if err := d.about("rename %s %s", from, to); err != nil {
		return err
	}
	return d.root.Rename(from, to)
}

func (d *disk) remove(name string) error {
	if err := d.about("remove %s", name); err != nil {
		return err
	}
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) mkdir(name string) error {
	if err := d.about("mkdir %s", name); err != nil {
		return err
	}
	if err := d.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.own(name)
}

// sync makes renames in these directories last. One that is gone needs none.
func (d *disk) sync(dirs ...string) error {
	for _, name := range dirs {
		if err := d.about("sync %s", name); err != nil {
			return err
		}
		f, err := d.root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(d.fsync(f), f.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", filepath.Join(d.dir, name), err)
		}
	}
	return nil
}

// own gives what root has made to the owner of the data directory.
func (d *disk) own(name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	return d.root.Lchown(name, int(st.Uid), int(st.Gid))
}

// sweep removes what no intent speaks of.
func (d *disk) sweep() error {
	for _, name := range []string{Staging, draftFile, doomed} {
		if there, err := d.has(".", name); err != nil || !there {
			if err != nil {
				return err
			}
			continue
		}
		if err := d.about("remove all %s", name); err != nil {
			return err
		}
		if err := d.root.RemoveAll(name); err != nil {
			return fmt.Errorf("remove %s: %w", filepath.Join(d.dir, name), err)
		}
	}
	return nil
}
