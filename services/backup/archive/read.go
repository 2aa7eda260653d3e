// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"io"
)

// Reader reads an archive from beginning to end and refuses what is not exactly as the manifest says.
type Reader struct{}

// NewReader reads the manifest. What it says is proved only when [Reader.Next] has returned [io.EOF].
func NewReader(r io.Reader, identities ...Identity) (*Reader, error) { return nil, errNotWritten }

// Manifest is what the archive says of itself. It has passed [Manifest.Check].
func (r *Reader) Manifest() Manifest { return Manifest{} }

// Next returns the next file and its content, which fails instead of ending when its hash is
// not right. What the caller leaves unread is read and proved. After the last file, the seal and the end
// it returns [io.EOF]: every byte was as it should be.
func (r *Reader) Next() (File, io.Reader, error) { return File{}, nil, errNotWritten }

// Close frees memory. It does not close the reader underneath.
func (r *Reader) Close() {}
