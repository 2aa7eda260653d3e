// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// Opened is an archive whose file is open and whose manifest was read: what comes after
// needs no permission for the file any more. It is read once.
type Opened struct {
	*file
	path string
}

// Open opens the archive at path. The caller closes it.
func Open(ctx context.Context, path string, o Options) (*Opened, error) {
	a, err := openFile(ctx, path, o)
	if err != nil {
		return nil, about("open", path, err)
	}
	return &Opened{a, path}, nil
}

// Path is where the archive was opened.
func (a *Opened) Path() string { return a.path }

// Extract is the function of that name.
func (a *Opened) Extract(dir string) error {
	if err := a.extract(dir); err != nil {
		return about("extract", a.path, err)
	}
	return nil
}

// Prove checks the database at path, which was extracted, and compares it with the manifest.
func (a *Opened) Prove(ctx context.Context, path string) (sqlite.Checked, error) {
	c, err := sqlite.Check(ctx, path)
	if err == nil {
		err = agree(a.Manifest(), c)
	}
	if err != nil {
		return c, about("verify", a.path, err)
	}
	return c, nil
}
