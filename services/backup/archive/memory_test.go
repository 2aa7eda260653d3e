// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

const (
	memoryPath  = "BLUFIO_TEST_MEMORY_DB" // set: this process is the memory test's child
	memoryBound = 16 << 10                // KiB
)

// A backup of a database of any size takes no more than 16 MB, and neither does its proof. A process of its own
// opens the database and shows by how much its resident set grew at most, code included.
func TestMemory(t *testing.T) {
	if path := os.Getenv(memoryPath); path != "" {
		backUpAndMeasure(t, path)
		return
	}
	memory(t, 48<<20)
}

func TestMemoryLong(t *testing.T) {
	long(t)
	memory(t, 1<<30)
}

func memory(t *testing.T, bytes int64) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	path := filepath.Join(t.TempDir(), "live.db")
	heavy(t, path, bytes)
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$", "-test.v")
	cmd.Env = append(os.Environ(), memoryPath+"="+path)
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "KiB") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func backUpAndMeasure(t *testing.T, path string) {
	s := openStore(t, path, messages)
	backup := filepath.Join(filepath.Dir(path), "backup")
	for _, step := range []struct {
		name string
		work func() error
	}{
		{"backup", func() error { return whole(t.Context(), s, filepath.Dir(path), backup) }},
		{"verify", func() error { _, err := Verify(t.Context(), backup, Options{}); return err }},
		{"extract", func() error {
			_, err := Extract(t.Context(), backup, filepath.Join(filepath.Dir(path), "out"), Options{})
			return err
		}},
	} {
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak begins anew
			t.Fatal(err)
		}
		before := status(t, "VmRSS")
		if err := step.work(); err != nil {
			t.Fatal(err)
		}
		peak := status(t, "VmHWM")
		fmt.Printf("%s: %d KiB before, %d KiB at most: +%d KiB\n", step.name, before, peak, peak-before)
		if peak-before > memoryBound {
			t.Errorf("%s took %d KiB, %d are permitted", step.name, peak-before, memoryBound)
		}
	}
}

// status reads a size from /proc, in KiB.
func status(t *testing.T, field string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+field+":")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
