// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const crashPath = "BLUFIO_TEST_CRASH_DB" // set: this process is TestKill's child

// TestKill kills a process that writes from many goroutines. Each write it
// was told about must be there, and each caller's writes without a gap.
func TestKill(t *testing.T) {
	if path := os.Getenv(crashPath); path != "" {
		writeForever(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "test.db")
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), crashPath+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if acknowledged = append(acknowledged, lines.Text()); len(acknowledged) == 500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if len(acknowledged) < 500 {
		t.Fatalf("the child stopped early: %q", acknowledged)
	}
	// The last line may be cut off.
	checkSurvivors(t, values(t, openTest(t, Options{Path: path})), acknowledged[:len(acknowledged)-1])
}

func checkSurvivors(t *testing.T, rows, acknowledged []string) {
	t.Helper()
	there := make(map[string]bool)
	next := make(map[string]int)
	for _, v := range rows {
		there[v] = true
		caller, number, _ := strings.Cut(v, "-")
		if n, err := strconv.Atoi(number); err != nil || n != next[caller] {
			t.Fatalf("row %q, want number %d of its caller, %v", v, next[caller], err)
		}
		next[caller]++
	}
	for _, v := range acknowledged {
		if !there[v] {
			t.Errorf("%s was acknowledged and is gone", v)
		}
	}
}

// writeForever prints each write after the store has acknowledged it.
func writeForever(t *testing.T, path string) {
	s := openTest(t, Options{Path: path})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				v := fmt.Sprintf("%d-%d", caller, n)
				if err := s.Write(context.Background(), put(v)); err != nil {
					panic(err)
				}
				mu.Lock()
				fmt.Println(v)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// smallDisk is a file system of 2 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		if errors.Is(err, os.ErrPermission) {
			t.Skip("mounting a small file system is not permitted: ", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all space of dir but keep bytes and returns the file that does.
func fill(t *testing.T, dir string, keep int) string {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	written := 0
	for {
		n, err := f.Write(block)
		written += n
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(int64(written - keep)); err != nil {
		t.Fatal(err)
	}
	return ballast
}

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t)
	s := openTest(t, Options{Path: filepath.Join(dir, "test.db")})
	if err := s.Write(t.Context(), put("before")); err != nil {
		t.Fatal(err)
	}
	ballast := fill(t, dir, 32<<10)
	big := strings.Repeat("x", 100<<10)        // waits in the page cache for the commit
	huge := strings.Repeat("x", 3*1024*1024/2) // does not: it fails in the function

	errs := together(t, s, put("small"), put(big), put("small too"))
	for i, err := range errs {
		if !errors.Is(err, ErrFull) {
			t.Errorf("write %d of the commit: %v, want ErrFull", i, err)
		}
	}
	for _, v := range []string{big, huge} {
		if err := s.Write(t.Context(), put(v)); !errors.Is(err, ErrFull) {
			t.Errorf("%d bytes alone: %v, want ErrFull", len(v), err)
		}
	}
	if n := s.meter.failures(); n != 3 {
		t.Errorf("%d failures counted, want the commit's and two alone", n)
	}
	// SQLite gives the whole transaction up; who came before in it is told
	// so. A function that overlooks the error gets it all the same, and what
	// it does next does not happen by itself.
	errs = together(t, s, put("given up"), func(tx *Tx) error { _ = put(huge)(tx); _ = put("stray")(tx); return nil }, put("fits"))
	if !errors.Is(errs[0], ErrFull) || !errors.Is(errs[1], ErrFull) || errs[2] != nil {
		t.Errorf("got %v, want ErrFull for the first two", errs)
	}
	if err := s.WriteLazy(put(big), nil); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); !errors.Is(st.LastError, ErrFull) || st.LastErrorAt.IsZero() {
		t.Errorf("stats %+v", st)
	}
	if got := values(t, s); !slices.Equal(got, []string{"before", "fits"}) {
		t.Errorf("while full: %d rows", len(got))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), put("after")); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if got := values(t, s); got[len(got)-1] != "after" {
		t.Errorf("with space again: %d rows", len(got))
	}
}

// TestOpenOnFullDisk: nothing half-made is left where the database goes.
func TestOpenOnFullDisk(t *testing.T) {
	dir := smallDisk(t)
	ballast := fill(t, dir, 4096)
	path := filepath.Join(dir, "test.db")
	if _, err := Open(t.Context(), Options{Path: path, Logger: quiet}); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s := openTest(t, Options{Path: path})
	if err := s.Write(t.Context(), put("x")); err != nil {
		t.Error(err)
	}
}
