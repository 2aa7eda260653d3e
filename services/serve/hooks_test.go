// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/hooks"
)

// diary is a hook that writes down what it was told.
type diary struct{ program, book string }

func newDiary(t *testing.T, more string) diary {
	t.Helper()
	dir := t.TempDir()
	d := diary{filepath.Join(dir, "hook"), filepath.Join(dir, "book")}
	text := "#!/bin/sh\nset -e\nline=\"$BLUFIO_HOOK gateway=${BLUFIO_GATEWAY%%:*} error=$BLUFIO_ERROR $BLUFIO_ALERT\"\n" +
		"[ $BLUFIO_HOOK != on-alert ] || line=\"$line $(cat | grep -o '\"pressure\":\"[a-z]*\"')\"\n" + more + "\necho \"$line\" >>" + d.book + "\n"
	if err := os.WriteFile(d.program, []byte(text), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return d
}

func (d diary) read(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(d.book)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
}

// Each hook is run once, at its moment.
func TestHooksOfALife(t *testing.T) {
	d, m := newDiary(t, ""), &machine{rss: 50}
	argv := []string{d.program}
	t.Run("life", func(t *testing.T) {
		daemonOf(t, func(o *Options) {
			o.Config.Hooks = hooks.Config{PreStart: argv, PostStart: argv, PreStop: argv, PostStop: argv, OnAlert: argv, Timeout: 10 * time.Second, StopTimeout: 10 * time.Second}
			o.Config.Memory.LimitMB, o.Config.Gateway.MaxBodyBytes, o.Config.Gateway.MaxConnections = 100, 64<<10, 64
			o.Now = m.now
			o.Memory = governor.Deps{Root: m, PageSize: 1 << 20, Every: 5 * time.Millisecond,
				GoLimit: func(int64) int64 { return 1 << 40 }, Free: func() {}, DropProgram: func() error { return nil }}
		})
		m.set(85, 0)
		bustest.Eventually(t, "there is an alert", func() bool { return len(d.read(t)) >= 3 }, func() any { return d.read(t) })
	})
	got := d.read(t)
	slices.Sort(got[1:3]) // the start's and the alert's run side by side
	want := []string{"pre-start gateway= error= ", `on-alert gateway= error= memory.pressure "pressure":"warn"`, "post-start gateway=http error= ", "pre-stop gateway= error= ", "post-stop gateway= error= "}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A daemon whose first hook is not content does not start, and has not touched anything.
func TestHookRefusesTheStart(t *testing.T) {
	d := newDiary(t, "echo the disk is not there; exit 4")
	o := Options{Config: Defaults(), DataDir: t.TempDir() + "/data", Version: "test", Logger: bustest.Logger(t)}
	o.Config.Hooks.PreStart, o.Config.Hooks.PostStop = []string{d.program}, []string{d.program}
	err := Run(t.Context(), o)
	var failed *hooks.Error
	if !errors.As(err, &failed) || ExitCode(err) != 1 || !strings.Contains(Hint(err), "hooks.pre_start") {
		t.Errorf("started: %v, exit %d, hint %q", err, ExitCode(err), Hint(err))
	}
	if _, err := os.Stat(databasePath(o.DataDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a database: %v", err)
	}
	if got := d.read(t); len(got) > 0 {
		t.Errorf("other hooks ran: %q", got)
	}
}

// The last hook hears why a daemon could not go on.
func TestLastHookHearsTheReason(t *testing.T) {
	d := newDiary(t, "")
	o := Options{Config: Defaults(), DataDir: t.TempDir() + "/data", Version: "test", Logger: bustest.Logger(t)}
	o.Config.Bus.Listen = "127.0.0.1:0"
	o.Config.Gateway.Listen = "127.0.0.1:1:1"
	o.Config.Hooks.PostStop = []string{d.program}
	err := Run(t.Context(), o)
	if got := d.read(t); err == nil || len(got) != 1 || !strings.HasPrefix(got[0], "post-stop gateway= error="+err.Error()[:10]) {
		t.Errorf("told %q of %v", got, err)
	}
}

// A stop while the first hook runs ends it, and is no failure.
func TestStopDuringTheFirstHook(t *testing.T) {
	d := newDiary(t, "echo >>$0.runs; sleep 60")
	o := Options{Config: Defaults(), DataDir: t.TempDir() + "/data", Version: "test", Logger: bustest.Logger(t)}
	o.Config.Hooks.PreStart = []string{d.program}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, o) }()
	bustest.Eventually(t, "the hook runs", func() bool { _, err := os.Stat(d.program + ".runs"); return err == nil })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}
