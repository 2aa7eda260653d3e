// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"

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
	return Report{}, errNotWritten
}

// Inspect reads the manifest alone, which is quick and proves nothing.
func Inspect(path string, identities ...Identity) (Manifest, error) {
	return Manifest{}, errNotWritten
}

// Extract lays the files of the archive out in dir, which must be empty or not exist, and syncs each of them: directories have mode 0700, files
// 0600, or 0700 when their owner could execute them. When it returns nil every byte was proved;
// otherwise dir is empty again. It does not look into the database.
func Extract(ctx context.Context, path, dir string, o Options) (Manifest, error) {
	return Manifest{}, errNotWritten
}
