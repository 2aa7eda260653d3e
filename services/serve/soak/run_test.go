// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
	"github.com/blufio/blufio/services/serve/internal/box"
)

// A run that cannot be made says why, and leaves no control group behind.
func TestRunCannotBeMade(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\n"), 0o700); err != nil { // nothing has to be built
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	if err := os.Mkdir(filepath.Join(dir, "accepted"), 0o700); err != nil { // where the book should be
		t.Fatal(err)
	}
	if _, err := newRun(t.Context(), options{limitMB: 256, report: t.Logf}, work{name: "it"}, dir); err == nil || !strings.Contains(err.Error(), "accepted") {
		t.Errorf("it ends with %v", err)
	}
	if g, err := box.NewGroup("soak", mib); errors.Is(err, fs.ErrExist) {
		t.Error("its control group is still there")
	} else if err == nil {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}
}

// Where there is no control group the daemon starts all the same, and what it is judged by
// is the limit that it was told.
func TestUngroupedStarts(t *testing.T) {
	out, err := newOutside()
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	for limit, want := range map[int64]int64{tightMB: 200, 300: 300} {
		o := options{total: round, limitMB: limit, provider: "openai", silence: time.Second}
		r := &run{options: o, work: o.works()[0]}
		path := filepath.Join(t.TempDir(), "blufio.toml")
		if err := out.config(path, o, r.ungrouped()); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := serve.Load(config.Sources{Files: []string{path}})
		if err != nil {
			t.Errorf("of %d MiB: %v", limit, err)
		}
		if r.limitMB != want || int64(cfg.Memory.LimitMB) != want || r.acts {
			t.Errorf("of %d MiB it is told %d and judged by %d, want %d; its governor has to act: %v", limit, cfg.Memory.LimitMB, r.limitMB, want, r.acts)
		}
	}
}

// The bounds were measured with a memory limit of Go's: each of their bars says so.
func TestBarsNameGoLimit(t *testing.T) {
	for _, w := range (options{total: round}).works() {
		r := &run{options: options{total: round, limitMB: 128}, work: w, daemon: &daemon{}, book: &book{}, sampler: &sampler{}}
		for _, row := range r.rows() {
			want := w.goPart > 0 && row.verdict != shown
			if got := strings.HasSuffix(row.bar, ", with GOMEMLIMIT=76MiB"); got != want {
				t.Errorf("%s: %s: %q names it: %v", w.name, row.what, row.bar, got)
			}
		}
	}
}
