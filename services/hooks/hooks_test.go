// SPDX-License-Identifier: MIT OR Apache-2.0

package hooks_test

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
	"github.com/blufio/blufio/services/hooks"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// script writes a program of the shell.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return path
}

func TestOutcomes(t *testing.T) {
	t.Setenv("BLUFIO_COST__DAILY_USD", "7") // of the daemon, and none of a hook's business
	for name, c := range map[string]struct {
		text, want string
	}{
		"content":      {`[ "$BLUFIO_HOOK $BLUFIO_NODE $BLUFIO_VERSION $BLUFIO_ERROR$BLUFIO_COST__DAILY_USD" = "pre-backup home 1.2 why" ] && [ "$PWD" = "$BLUFIO_DATA_DIR" ]`, ""},
		"not content":  {"exit 3", "hook pre-backup failed: HOOK: exit status 3"},
		"too slow":     {"sleep 60", "hook pre-backup failed: HOOK took longer than 1s and was killed"},
		"not runnable": {"", "hook pre-backup failed: run HOOK: permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			program := script(t, c.text)
			if c.text == "" {
				if err := os.Chmod(program, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Parallel() // not before: a process that is begun meanwhile would have the file open for writing, so that it cannot be run
			r := hooks.NewRunner(hooks.Config{PreBackup: []string{program}, Timeout: time.Second}, hooks.Deps{DataDir: t.TempDir(), Node: "home", Version: "1.2", Logger: bustest.Logger(t)})
			err := r.Run(t.Context(), hooks.PreBackup, "BLUFIO_ERROR=why")
			got := ""
			if err != nil {
				got = strings.ReplaceAll(err.Error(), program, "HOOK")
			}
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			problems := hooks.New(r, time.Now).Door().Health()
			if (len(problems) > 0) != (c.want != "") {
				t.Errorf("problems: %v", problems)
			}
			for _, p := range problems {
				if !strings.Contains(p.Hint, "hooks.pre_backup") {
					t.Errorf("hint %q does not name the key", p.Hint)
				}
			}
		})
	}
}

// A problem is over when the hook succeeds again, and both runs are counted.
func TestMended(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "mended")
	r := hooks.NewRunner(hooks.Config{PostBackup: []string{"ls", flag}, Timeout: 10 * time.Second}, hooks.Deps{DataDir: t.TempDir(), Logger: bustest.Logger(t)})
	door := hooks.New(r, time.Now).Door()
	if r.Run(t.Context(), hooks.PostBackup) == nil || len(door.Health()) != 1 {
		t.Fatalf("the hook's failure is not seen: %v", door.Health())
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), hooks.PostBackup); err != nil || len(door.Health()) != 0 {
		t.Fatalf("mended: %v, %v", err, door.Health())
	}
	want := `
# HELP blufio_hook_runs_total Hooks that were run, by how they ended.
# TYPE blufio_hook_runs_total counter
`
	for _, hook := range []string{"on-alert", "post-backup", "post-start", "post-stop", "pre-backup", "pre-start", "pre-stop"} {
		n := " 0\n"
		if hook == hooks.PostBackup {
			n = " 1\n"
		}
		for _, outcome := range []string{"failed", "ok"} {
			want += `blufio_hook_runs_total{hook="` + hook + `",outcome="` + outcome + `"}` + n
		}
	}
	if err := testutil.CollectAndCompare(door.Metrics[0], strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]struct {
		argv  []string
		check string // what is wrong with the words
		files string // and with the machine
	}{
		"none":       {nil, "", ""},
		"a name":     {[]string{"echo", "x"}, "", ""},
		"nothing":    {[]string{""}, `on_alert: "" is not a program`, "on_alert: : no such command on this machine"},
		"relative":   {[]string{"./hook"}, `on_alert: "./hook" is neither a name nor a whole path`, "on_alert: ./hook: no such command on this machine"},
		"not there":  {[]string{"/no/such/hook"}, "", "on_alert: /no/such/hook: no such command on this machine"},
		"not a file": {[]string{"/"}, "", "on_alert: / is not a program"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := hooks.Defaults()
			cfg.OnAlert = c.argv
			var words, files []string
			cfg.Check(func(key, message, hint string) { words = append(words, key+": "+message) })
			cfg.CheckFiles(func(key string, err error, hint string) { files = append(files, key+": "+err.Error()) })
			one := func(s string) []string {
				if s == "" {
					return nil
				}
				return []string{s}
			}
			if !slices.Equal(words, one(c.check)) || !slices.Equal(files, one(c.files)) {
				t.Errorf("words %q, files %q", words, files)
			}
		})
	}
}

// A hook that is cut off by a stop has not failed, whatever the stop's reason is called: that
// of a signal is no context.Canceled.
func TestCutOffIsNoFailure(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	r := hooks.NewRunner(hooks.Config{PreStart: []string{script(t, "echo >"+started+"; sleep 60")}, Timeout: time.Minute}, hooks.Deps{DataDir: t.TempDir(), Logger: bustest.Logger(t)})
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, hooks.PreStart) }()
	bustest.Eventually(t, "the hook runs", func() bool { _, err := os.Stat(started); return err == nil })
	stop(errors.New("terminated signal received"))
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if p := hooks.New(r, time.Now).Door().Health(); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
}
