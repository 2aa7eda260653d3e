// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"slices"
	"testing"

	"github.com/blufio/blufio/bus"
)

// A hook is told the path of the daemon's own backups alone: that of another is one that its
// reader has named, and may be anything.
func TestHooksGetPathsOfOurOwn(t *testing.T) {
	for path, run := range map[string]bus.BackupRun{
		"/b/x.tar.zst": {ID: "1", Scheduled: true, Path: "/b/x.tar.zst", Bytes: 3},
		"":             {ID: "1", Path: "/home/somebody/\x00", Bytes: 3},
	} {
		want := []string{"BLUFIO_BACKUP_ID=1", "BLUFIO_BACKUP_PATH=" + path, "BLUFIO_BACKUP_BYTES=3", "BLUFIO_ERROR="}
		if got := backupEnv(run); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
