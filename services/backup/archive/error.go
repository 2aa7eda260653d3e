// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// What may be wrong with an archive. Errors wrap one of these with what and where.
var (
	// ErrNotArchive: the file is something else.
	ErrNotArchive = errors.New("not a blufio backup")
	// ErrDamaged: it differs from what was written, or was never written by blufio.
	ErrDamaged = errors.New("backup is damaged")
	// ErrNewer: a newer blufio wrote it.
	ErrNewer = errors.New("backup is newer than this program")
	// ErrEncrypted: it is encrypted, and no identity that was given opens it.
	ErrEncrypted = errors.New("backup is encrypted")
	// ErrSpace: what is in it does not fit on the disk.
	ErrSpace = errors.New("not enough free space")
)

// foreign makes damage of an error of another package, which may have several lines, or repeat
// what stands in the archive at any length.
func foreign(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf("%w: it cannot be unpacked (%.200s)", ErrDamaged, line)
}

// about says what was to be done with the file at path, which trouble with it already names.
func about(verb, path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == path {
		return err
	}
	return fmt.Errorf("%s %s: %w", verb, path, err)
}
