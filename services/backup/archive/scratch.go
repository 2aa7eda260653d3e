// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	scratchPrefix = ".blufio-verify-"
	scratchAge    = time.Minute // younger ones may not have been locked yet
)

// scratch makes a directory of our own in where, or beside the archive at path, or, where nothing can
// be written there, where the system has such things. It also removes those that killed processes left.
func scratch(path, where string) (dir string, remove func() error, err error) {
	places := []string{where}
	if where == "" {
		places = []string{filepath.Dir(path), os.TempDir()}
	}
	for _, place := range places {
		sweepScratch(place)
		if dir, err = os.MkdirTemp(place, scratchPrefix+"*"); err == nil {
			break
		}
	}
	if err != nil {
		return "", nil, err
	}
	lock, err := os.Open(dir)
	if err == nil {
		err = lockFile(lock)
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
}

// sweepScratch removes what nobody has locked. What it may not look into is somebody else's.
func sweepScratch(place string) {
	entries, err := os.ReadDir(place)
	if err != nil {
		return // making a directory there says why
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), scratchPrefix) && time.Since(info.ModTime()) > scratchAge {
			removeUnlocked(filepath.Join(place, e.Name()))
		}
	}
}

func removeUnlocked(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	if lockFile(d) == nil {
		_ = os.RemoveAll(dir) // the next one tries again
	}
}
