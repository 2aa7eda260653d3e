// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Extract lays the files of the archive out in dir, which must be empty or not exist, and syncs each of them: directories have mode 0700, files
// 0600, or 0700 when their owner could execute them. When it returns nil every byte was proved;
// otherwise dir is empty again. It does not look into the database.
func Extract(ctx context.Context, path, dir string, o Options) (Manifest, error) {
	a, err := openFile(ctx, path, o)
	if err != nil {
		return Manifest{}, about("extract", path, err)
	}
	defer a.Close()
	if err := a.extract(dir); err != nil {
		return Manifest{}, about("extract", path, err)
	}
	return a.Manifest(), nil
}

func (a *file) extract(dir string) error {
	if err := emptyDir(dir); err != nil {
		return err
	}
	if err := enough(dir, a.m.Files); err != nil {
		return err
	}
	err := a.fill(dir)
	if err != nil {
		err = errors.Join(err, clearDir(dir))
	}
	return err
}

func (a *file) fill(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	dirs := map[string]bool{".": true}
	for {
		f, content, err := a.Next()
		if errors.Is(err, io.EOF) {
			return syncDirs(root, dirs)
		}
		if err == nil {
			err = layOut(root, f, content, dirs)
		}
		if err != nil {
			return err
		}
	}
}

func layOut(root *os.Root, f File, content io.Reader, dirs map[string]bool) error {
	parent := path.Dir(f.Name)
	if err := root.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	for d := parent; !dirs[d]; d = path.Dir(d) {
		dirs[d] = true
	}
	out, err := root.OpenFile(f.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600|fs.FileMode(f.Mode)&0o100)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(writerOnly{out}, content, make([]byte, copySize))
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

func syncDirs(root *os.Root, dirs map[string]bool) error {
	for name := range dirs {
		d, err := root.Open(name)
		if err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// emptyDir makes dir, or makes sure that nothing is in it.
func emptyDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("directory %s is not empty", dir)
	}
	return err
}

func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
