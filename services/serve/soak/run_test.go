// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
