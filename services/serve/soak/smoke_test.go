// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
)

// The whole way in some seconds: the real binary, every phase, both files, nothing
// lost. Numbers of memory and time are not looked at: these are too few.
func TestSoakSmoke(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("only Linux has /proc")
	}
	o := options{total: 4 * time.Second, oneCPU: true, limitMB: 256, silence: time.Second, agent: `breaker_pause = "1s"`, provider: "openai", out: t.TempDir(), report: t.Logf}
	w := o.works()[0]
	r, err := newRun(t.Context(), o, w, filepath.Join(t.TempDir(), w.name))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.drive(t.Context()); err != nil {
		t.Fatal(err)
	}
	restarts(t, r)
	rep := newReport(o)
	r.broken = true
	if err := rep.keep(r); err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(filepath.Join(o.out, rep.name(r)+".log")); err != nil || !strings.Contains(string(log), `"ready"`) {
		t.Errorf("of one that went wrong the daemon's log is %q, %v", log, err)
	}
	if r.kept.lost != 0 || r.kept.open() != 0 || len(r.daemon.died()) != 0 || r.oomKills != 0 {
		t.Errorf("kept %+v, deaths %v, killed for memory %d times", r.kept, r.daemon.died(), r.oomKills)
	}
	if n := r.book.accepted.Load(); n == 0 || r.kept.states["answered"] == 0 {
		t.Errorf("%d accepted, %v", n, r.kept.states)
	}
	rows := readCSV(t, filepath.Join(o.out, rep.name(r)+".csv"))
	for _, phase := range []string{steady, hostile, calm} {
		if !slices.ContainsFunc(rows, func(row []string) bool { return row[1] == phase }) {
			t.Errorf("%s was not sampled", phase)
		}
	}
	if text := rep.markdown(); !strings.Contains(text, rep.name(r)+".svg") || !strings.Contains(text, "by the wall clock") {
		t.Errorf("the report: %s", text)
	}
}

// restarts kills a daemon on the run's data: that has to be seen, and it has to come
// back.
func restarts(t *testing.T, r *run) {
	t.Helper()
	d := &daemon{binary: r.daemon.binary, dir: r.daemon.dir, config: r.daemon.config, log: r.daemon.log}
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	first := d.at().PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "there is another process", func() bool { return d.at().PID != first }, func() any { return d.died() })
	if died := d.died(); len(died) != 1 || !strings.Contains(died[0], "killed") {
		t.Errorf("after a kill: deaths %q", died)
	}
}
