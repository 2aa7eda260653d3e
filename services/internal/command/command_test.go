// SPDX-License-Identifier: MIT OR Apache-2.0

package command_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/command"
)

func TestRun(t *testing.T) {
	t.Setenv("BLUFIO_OPENAI__API_KEY", "hunter2")
	dir := t.TempDir()
	for name, c := range map[string]struct {
		command command.Command
		want    command.Outcome
	}{
		"well":          {command.Command{Argv: []string{"echo", "a", "b c"}}, command.Outcome{State: "exit status 0", Output: "a b c\n"}},
		"badly":         {command.Command{Argv: []string{"sh", "-c", "echo oops >&2; exit 3"}}, command.Outcome{Code: 3, State: "exit status 3", Output: "oops\n"}},
		"by a signal":   {command.Command{Argv: []string{"sh", "-c", "kill -9 $$"}}, command.Outcome{Code: -1, State: "signal: killed"}},
		"environment":   {command.Command{Argv: []string{"env"}, Env: []string{"A=b"}}, command.Outcome{State: "exit status 0", Output: "PATH=" + command.Path + "\nHOME=" + dir + "\nLANG=C.UTF-8\nA=b\n"}},
		"input":         {command.Command{Argv: []string{"cat"}, Stdin: []byte("in")}, command.Outcome{State: "exit status 0", Output: "in"}},
		"says too much": {command.Command{Argv: []string{"sh", "-c", "yes | head -c 100000"}, Output: 4}, command.Outcome{State: "exit status 0", Output: "y\ny\n", Cut: true}},
		"its end":       {command.Command{Argv: []string{"seq", "1000"}, Output: 9, End: true}, command.Outcome{State: "exit status 0", Output: "999\n1000\n", Cut: true}},
		"left behind":   {command.Command{Argv: []string{"sh", "-c", "sleep 60 & echo $!"}, Output: 1}, command.Outcome{State: "exit status 0", Left: true, Cut: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.command.Dir = dir
			got, err := c.command.Run(t.Context())
			if name == "left behind" {
				got.Output = ""
			}
			if name == "environment" {
				got.Output = strings.ReplaceAll(got.Output, "PWD="+dir+"\n", "") // a shell's, not env's
			}
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestDoesNotRun(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"no-such-program": "no-such-program: no such command on this machine",
		"./here":          "./here: no such command on this machine",
		"/no/such":        "/no/such: no such command on this machine",
		plain:             plain + " is not a program",
		"sh":              "",
	} {
		if err := command.Runnable(name); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := (command.Command{Argv: []string{plain}}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a plain file runs: %v", err)
	}
}

// What takes too long is killed with all that it started.
func TestTimeout(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe") // it ends when nobody is left who holds it
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	c := command.Command{Argv: []string{"sh", "-c", "exec >" + pipe + "; sleep 60 & echo begun; wait"}, Dir: t.TempDir(), Timeout: 300 * time.Millisecond}
	if _, err := c.Run(t.Context()); !errors.Is(err, command.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	if err := held.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(held); err != nil || string(got) != "begun\n" {
		t.Errorf("its child lives: %q, %v", got, err)
	}
}

// With a grace a program is asked first, and may say something more.
func TestGrace(t *testing.T) {
	c := command.Command{Argv: []string{"sh", "-c", "trap 'echo bye; exit 0' TERM; echo hello; while :; do sleep 0.01; done"}, Dir: t.TempDir(), Timeout: 300 * time.Millisecond, Grace: 20 * time.Second}
	if out, err := c.Run(t.Context()); !errors.Is(err, command.ErrTimeout) || !strings.HasPrefix(out.Output, "hello\n") || !strings.HasSuffix(out.Output, "bye\n") {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (command.Command{Argv: []string{"sleep", "60"}}).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
