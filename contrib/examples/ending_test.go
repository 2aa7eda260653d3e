// SPDX-License-Identifier: MIT OR Apache-2.0

package examples

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
)

// A listener that may not hear, or may no longer, says so and ends: it does not wait for
// what will never come.
func TestListenersThatMayNotHear(t *testing.T) {
	r := start(t)
	r.say("one")
	r.answered(t)
	dir := t.TempDir()
	r.blufio("keys", "issue", "--role", "observer", "--name", "narrow", "--allow-sub", "evt.cost.>", "--out", dir)
	narrow := filepath.Join(dir, "narrow.json")
	for name, prepare := range map[string]func(*testing.T) listener{"go": buildGo, "js": installJS} {
		t.Run(name, func(t *testing.T) {
			l := prepare(t)
			for _, tt := range []struct {
				name string
				args []string
			}{
				{"live", l.args(narrow, false, ">")},
				{"replayed", l.args(narrow, true, ">", l.seq, "1")},
				{"replayed by time", l.args(narrow, true, ">", l.since, "1h")},
			} {
				code, out := l.ends(t, tt.args)
				if code != 1 || !strings.Contains(out, "this key may not hear evt.>") || strings.Count(out, "\n") > 2 {
					t.Errorf("%s: exit code %d: %s", tt.name, code, out)
				}
			}
			r.revokedWhile(t, l, dir, "live-"+name)
			r.revokedWhile(t, l, dir, "replay-"+name, l.seq, "1")
			for flag, want := range map[string]int{"--help": 0, "--nonsense": 2} {
				code, out := l.ends(t, append(l.command[:len(l.command):len(l.command)], flag))
				if code != want || !strings.Contains(out, "context") || strings.Contains(out, "node:internal") {
					t.Errorf("%s: exit code %d: %s", flag, code, out)
				}
			}
		})
	}
}

// answered waits until the stream has the event of an answer.
func (r *rig) answered(t *testing.T) {
	t.Helper()
	bustest.Eventually(t, "an answer is delivered", func() bool {
		return strings.Contains(r.blufio("events", "--no-follow", "--json"), "evt.reply.delivered")
	})
}

// ends runs a listener that is to end by itself.
func (l listener) ends(t *testing.T, args []string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	text, err := l.build(ctx, args).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v: %s", args, err, text)
	} else if err != nil {
		code = exit.ExitCode()
	}
	return code, string(text)
}

// revokedWhile revokes a listener's key once it has heard something.
func (r *rig) revokedWhile(t *testing.T, l listener, dir, name string, args ...string) {
	t.Helper()
	r.blufio("keys", "issue", "--role", "observer", "--name", name, "--out", dir)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := l.build(ctx, l.args(filepath.Join(dir, name+".json"), len(args) > 0, ">", args...))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	heard := make(chan struct{})
	cmd.Stdout = &firstByte{heard: heard}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for waiting := true; waiting; {
		select {
		case <-heard:
			waiting = false
		case <-time.After(50 * time.Millisecond): // it may not listen yet
			r.say("hello")
		case <-ctx.Done():
			t.Fatalf("%s: it heard nothing: %s", name, &errs)
		}
	}
	r.blufio("keys", "revoke", name)
	_ = cmd.Wait() // the code tells
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "revoked or has expired") || strings.Count(errs.String(), "\n") > 1 {
		t.Errorf("%s: exit code %d: %s", name, code, &errs)
	}
}

// firstByte tells when something is written.
type firstByte struct {
	once  sync.Once
	heard chan struct{}
}

func (f *firstByte) Write(p []byte) (int, error) {
	f.once.Do(func() { close(f.heard) })
	return len(p), nil
}
