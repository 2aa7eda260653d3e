// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// Options are for reading. The zero value is good for an archive that is not encrypted.
type Options struct {
	Identities []Identity              // that may open an encrypted archive
	Scratch    string                  // where Verify puts the database for a while; default: beside the archive, where that is not writable [os.TempDir]
	Progress   func(done, total int64) // bytes of the archive's file read; may be nil
}

// Report is what [Verify] has seen.
type Report struct {
	Manifest  Manifest
	Bytes     int64 // size of the archive's file
	Encrypted bool
	Checked   sqlite.Checked
}

// Verify reads every byte of the archive at path, takes the database out to a scratch directory,
// which is removed afterwards, opens and checks it, and compares schema versions and row counts with the manifest.
func Verify(ctx context.Context, path string, o Options) (Report, error) {
	report, err := verify(ctx, path, o)
	if err != nil {
		return Report{}, about("verify", path, err)
	}
	return report, nil
}

func verify(ctx context.Context, path string, o Options) (report Report, err error) {
	a, err := openFile(ctx, path, o)
	if err != nil {
		return Report{}, err
	}
	defer a.Close()
	dir, remove, err := scratch(path, o.Scratch)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	database := filepath.Join(dir, DatabaseName)
	m := a.Manifest()
	if err := enough(dir, m.Files[:1]); err != nil {
		return Report{}, err
	}
	if err := a.take(database); err != nil {
		return Report{}, err
	}
	checked, err := sqlite.Check(ctx, database)
	if err != nil {
		return Report{}, err
	}
	return Report{Manifest: m, Bytes: a.src.done, Encrypted: a.Encrypted(), Checked: checked}, agree(m, checked)
}

// agree compares the database with what the manifest says of it.
func agree(m Manifest, c sqlite.Checked) error {
	if err := c.Err(); err != nil {
		return fmt.Errorf("%w: its %w", ErrDamaged, err)
	}
	if !maps.Equal(m.Schema, c.Schema) {
		return fmt.Errorf("%w: the database's tables have other versions than the manifest says", ErrDamaged)
	}
	if !maps.Equal(m.Rows, c.Rows) {
		return fmt.Errorf("%w: the database has other rows than the manifest says", ErrDamaged)
	}
	return nil
}

// Inspect reads the manifest alone, which is quick and proves nothing.
func Inspect(path string, identities ...Identity) (Manifest, error) {
	a, err := openFile(context.Background(), path, Options{Identities: identities})
	if err != nil {
		return Manifest{}, about("read", path, err)
	}
	defer a.Close()
	return a.Manifest(), nil
}

// file is a Reader of an archive's file.
type file struct {
	*Reader
	f *os.File
}

func openFile(ctx context.Context, path string, o Options) (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no regular file", ErrNotArchive)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	src := &source{ctx: ctx, r: f}
	if o.Progress != nil {
		src.progress = func(done int64) { o.Progress(done, info.Size()) }
	}
	r, err := newReader(src, o.Identities)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &file{Reader: r, f: f}, nil
}

func (a *file) Close() {
	a.Reader.Close()
	_ = a.f.Close() // only read
}

// take writes the database to path and proves the rest.
func (a *file) take(path string) error {
	for {
		f, content, err := a.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if f.Name != DatabaseName {
			continue
		}
		out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(writerOnly{out}, content, make([]byte, copySize))
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}

// writerOnly hides that a file would rather read for itself, with a small buffer.
type writerOnly struct{ io.Writer }
