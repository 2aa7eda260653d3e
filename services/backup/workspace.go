// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/blufio/blufio/services/backup/archive"
)

// maxWorkspace is how many files of a workspace an archive takes: the manifest names each.
const maxWorkspace = 10_000

// copyWorkspace puts the workspace's files aside, for they may change while the archive is
// written. Links and what is no file is left out, and counted. It is read as an [os.Root], so
// that nothing leads out of it.
func (c *Cut) copyWorkspace(ctx context.Context, dir, data string) (err error) {
	if Within(data, dir) {
		return fmt.Errorf("copy workspace: the data directory is in the workspace %s, with its keys: name another one in tools.workspace, or leave it out", dir)
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open workspace: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	files := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // gone since
			return nil
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			c.LeftOut.Links++
			return nil
		case !d.Type().IsRegular():
			c.LeftOut.Special++
			return nil
		case archive.ValidName(archive.WorkspaceDir+name) != nil:
			c.LeftOut.Names++
			return nil
		}
		if files++; files > maxWorkspace {
			return fmt.Errorf("it has more than %d files", maxWorkspace)
		}
		return c.copyFile(ctx, root, name)
	})
	if err != nil {
		return fmt.Errorf("copy workspace: %w", err)
	}
	return nil
}

func (c *Cut) copyFile(ctx context.Context, root *os.Root, name string) error {
	from, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to := c.path(archive.WorkspaceDir + name)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600|info.Mode().Perm()&0o100)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, reader{ctx, from})
	return errors.Join(err, out.Close())
}

var odd = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// configName is the name of a configuration's file as it stands in an archive.
func configName(name string) string {
	name = strings.TrimLeft(odd.ReplaceAllString(strings.TrimSuffix(name, ".toml"), "_"), ".")
	if name == "" {
		name = "config"
	}
	return name[:min(len(name), 64)] + ".toml"
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }
