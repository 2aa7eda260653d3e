// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus/bustest"
	"golang.org/x/sys/unix"
)

// Orphans of a command are reaped, and nobody's own children.
func TestReap(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // as process 1 is
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) //nolint:errcheck // as it was
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", "-c", "cat <&3 >/dev/null 2>&1 & echo $!")
	sh.ExtraFiles = []*os.File{r} // cat outlives sh, which would take note of its end otherwise
	out, err := sh.Output()
	_, _ = r.Close(), w.Close()
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string, pid int) {
		t.Helper()
		bustest.Eventually(t, what+" is a zombie", func() bool { return slices.Contains(zombies(), pid) })
	}
	await("the orphan", orphan)
	seen := reapTwice(nil)
	if !seen[orphan] || !slices.Contains(zombies(), orphan) {
		t.Error("the first look reaps")
	}
	own, err := os.StartProcess("/bin/false", []string{"false"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	await("the child", own.Pid)
	seen = reapTwice(seen)
	if slices.Contains(zombies(), orphan) || seen[orphan] {
		t.Error("the second look does not reap")
	}
	if state, err := own.Wait(); err != nil || state.ExitCode() != 1 {
		t.Errorf("the status of a child was taken: %v, %v", state, err)
	}
}

func TestZombieByItsLine(t *testing.T) {
	for line, want := range map[string]bool{
		"12 (sh) Z 7 12 12 0": true, "12 (a) Z 7) S 7 1": false, "12 (odd ) name) Z 7 1": true,
		"12 (sh) Z 8 1": false, "12 (sh) S 7 1": false, "": false, "12": false,
	} {
		if got := isZombie([]byte(line), 7); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
