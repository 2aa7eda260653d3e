// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
)

func TestWorkspaceIsBounded(t *testing.T) {
	r := newRig(t, nil)
	dir := filepath.Join(r.dir, "workspace")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range maxWorkspace + 1 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := r.begin(bus.BackupRequest{IncludeWorkspace: true})
	var err error
	for err == nil {
		_, err = bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID})
	}
	if !strings.Contains(err.Error(), "more than 10000 files") {
		t.Errorf("%v", err)
	}
	r.wantClean()
	if _, err := bus.BackupGet.Ask(t.Context(), r.cli, bus.BackupQuery{Files: maxListed + 1}); bus.CodeOf(err) != bus.CodeInvalid {
		t.Errorf("a list without end: %v", err)
	}
	if _, err := bus.BackupFinish.Ask(t.Context(), r.cli, bus.BackupEnd{ID: b.ID, Path: strings.Repeat("x", maxText+1)}); bus.CodeOf(err) != bus.CodeInvalid {
		t.Errorf("a path without end: %v", err)
	}
}

// A fault of ours is one line for people, whatever stack comes with it.
func TestFaultsAreOneLine(t *testing.T) {
	r := newRig(t, func(c *Config, d *Deps) {
		d.Source.Device = func() (string, error) { panic("a fault") }
	})
	b := r.begin(bus.BackupRequest{})
	var err error
	for err == nil {
		_, err = bus.BackupTake.Ask(t.Context(), r.cli, bus.BackupRead{ID: b.ID})
	}
	if text := err.Error(); !strings.Contains(text, "a fault") || strings.Contains(text, "\n") || strings.Contains(text, ".go:") {
		t.Errorf("%v", err)
	}
	r.until("the place is free", func() bool { return r.get(0).Running == nil })
	r.pass(settling)
	r.until("the schedule fails, too", func() bool { return r.get(0).Failures == 1 })
	r.wantFacts("started", "failed", "started", "failed")
}

func TestConfigIsChecked(t *testing.T) {
	good := Defaults()
	for name, change := range map[string]func(*Config){
		"too often":     func(c *Config) { c.Every = time.Second },
		"no whole path": func(c *Config) { c.Dir = "backups" },
		"no command":    func(c *Config) { c.After = []string{" ", "x"} },
		"no key":        func(c *Config) { c.Recipients = []string{"nobody"} },
		"too many keys": func(c *Config) { c.Recipients = make([]string, bus.MaxBackupRecipients+1) },
		"":              func(*Config) {},
	} {
		c := good
		change(&c)
		told := ""
		c.Check(func(key, message, hint string) { told += key + ": " + message + "\n" })
		if (told == "") != (name == "") {
			t.Errorf("%q: %s", name, told)
		}
	}
}

func TestCommandEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	if err := Command(ctx, time.Minute, []string{"sleep", "1000"}); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}
