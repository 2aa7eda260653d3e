// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The schedule makes its backup, and proves it, on a disk that has space for the database and
// two of its size, and not for three: the copy is gone before the archive is taken apart.
func TestBackupOnASmallDisk(t *testing.T) {
	t.Parallel()
	binary := build(t, armed)
	p := plan{dir: t.TempDir()}
	if err := os.WriteFile(p.config(), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	smallDisk(t, p)
	d := start(t, p, binary)
	d.awaitHealthy(t)
	d.stop(t)
	p.bulk(t, 6<<20)
	p.add(t, "[backup]\nevery = \"1h\"\ndrill_every = \"0s\"\n")
	d = start(t, p, binary, "BLUFIO_HASTE=1")
	d.awaitHealthy(t)
	until(t, "a backup is made and verified", time.Minute, func() bool { return p.state(t, binary).LastVerified != nil })
	d.stop(t)
	if n := p.wantWhole(t, filepath.Join(p.data(), "backups")); n != 1 {
		t.Errorf("%d backups", n)
	}
	p.wantNoScratch(t)
}
