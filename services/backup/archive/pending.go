// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

// Pending is a file that is being written under another name, path.partial, until it is whole.
type Pending struct{}

// Create begins a file that is to be at path, mode 0600. It fails with [fs.ErrExist] when something is there, unless
// force is set, and when another process is writing the same. What a killed one left is replaced.
func Create(path string, force bool) (*Pending, error) { return nil, errNotWritten }

// Write appends to the file.
func (p *Pending) Write(b []byte) (int, error) { return 0, errNotWritten }

// Partial is where the file is until Commit.
func (p *Pending) Partial() string { return "" }

// Sync brings what was written to the disk. Then it may be read at Partial, to verify it before Commit.
func (p *Pending) Sync() error { return errNotWritten }

// Commit syncs the file, gives it its name, and syncs the directory. Without force something that
// has come to be at path meanwhile is not replaced: [fs.ErrExist]. After an error call Abort.
func (p *Pending) Commit() error { return errNotWritten }

// Abort removes the file. After Commit, or a second time, it does nothing.
func (p *Pending) Abort() error { return nil }

// Free is the space left for this user on the file system of dir.
func Free(dir string) (int64, error) { return 0, errNotWritten }
