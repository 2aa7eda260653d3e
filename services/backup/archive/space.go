// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

const (
	spare    = 1 << 20 // that is left to others
	perEntry = 4096    // what a small file takes at most beside its content
)

// Free is the space left for this user on the file system of dir.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	if st.Bavail > math.MaxInt64/uint64(st.Bsize) {
		return math.MaxInt64, nil
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// enough refuses files that would fill the disk.
func enough(dir string, files []File) error {
	need := int64(0)
	for _, f := range files {
		need += f.Size + perEntry
	}
	free, err := Free(dir)
	if err == nil && need > free-spare {
		err = fmt.Errorf("%w in %s: its files take %d MiB, and %d MiB are free", ErrSpace, dir, need>>20, free>>20)
	}
	return err
}
