// SPDX-License-Identifier: MIT OR Apache-2.0

package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// doomed is where the old files go to be removed, so that what is called pre-restore-… is
// all of them at any time. The next replay removes what a crash has left of it.
const doomed = "restore.old"

// Replaced is a directory of files that a restore has replaced.
type Replaced struct {
	Name  string
	At    time.Time // of the restore, by its name
	Bytes int64     // of the files in it
	again int       // one more in the same second
}

// List names those in a data directory, the newest first. What has such a name and was not
// made by a restore is nobody's business.
func List(dir string) (all []Replaced, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list replaced files: %w", err)
	}
	for _, e := range entries {
		if r, ok := parsePre(e.Name()); ok && e.IsDir() {
			r.Bytes = bytesIn(filepath.Join(dir, r.Name))
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Replaced) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return b.again - a.again
	})
	return all, nil
}

// parsePre reads what [PreName] has made.
func parsePre(name string) (r Replaced, ok bool) {
	text, ok := strings.CutPrefix(name, preName)
	if !ok {
		return r, false
	}
	text, n, more := strings.Cut(text, "-")
	r.Name = name
	if more {
		var err error
		if r.again, err = strconv.Atoi(n); err != nil || r.again < 2 {
			return r, false
		}
	}
	at, err := time.Parse(stamp, text)
	r.At = at
	return r, err == nil
}

// bytesIn is what the files below dir take, of those that can be seen.
func bytesIn(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be seen is not counted
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// Drop deletes one for good. It is for whoever holds the data directory's lock, once it has
// replayed.
func Drop(dir, name string) error {
	if _, ok := parsePre(name); !ok {
		return fmt.Errorf("%q is not what a restore has replaced", name)
	}
	err := open(dir, func(d *disk) error {
		if pending, _, err := d.pending(); err != nil || pending != nil {
			return errors.Join(err, errors.New("a restore is pending"))
		}
		if err := d.root.RemoveAll(doomed); err != nil { // of one that was cut off
			return err
		}
		if err := d.rename(name, doomed); err != nil {
			return err
		}
		if err := d.sync("."); err != nil {
			return err
		}
		return d.root.RemoveAll(doomed)
	})
	if err != nil {
		return fmt.Errorf("remove replaced files: %w", err)
	}
	return nil
}
