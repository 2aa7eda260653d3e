// SPDX-License-Identifier: MIT OR Apache-2.0

// Package command runs an owner's program for the daemon: no interpreter in between,
// none of the daemon's environment, a bound on its time and on what it says, and
// nothing of it left behind.
//
//	out, err := command.Command{Argv: []string{"rclone", "copy", path}, Dir: dir, Timeout: time.Minute}.Run(ctx)
//
// A program is found in the places where programs are ([Path]), never by the daemon's
// own PATH or in the directory it works in, unless its whole path is given.
package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Path is where programs are looked for, and the PATH they get.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Errors to test for with [errors.Is].
var (
	// ErrNotFound: there is no such program.
	ErrNotFound = errors.New("no such command on this machine")
	// ErrTimeout: it took longer than it may, and was killed.
	ErrTimeout = errors.New("took too long and was killed")
)

const (
	afterExit     = time.Second // for what a program started and left behind, before its output is closed
	defaultOutput = 64 << 10    // bytes
)

// Command is a program to run. Zero bounds are the defaults.
type Command struct {
	Argv    []string      // the program and its arguments; at least the program
	Dir     string        // where it works, and its HOME
	Env     []string      // added to PATH, HOME and LANG
	Stdin   []byte        // what it reads; nil: nothing
	Timeout time.Duration // 0: only the context's
	Output  int           // most bytes kept of what it says, default 64 KiB; the rest is read and dropped
	End     bool          // keep the end of it, not the beginning
	Grace   time.Duration // between the request to end and the kill; 0: it is killed at once
}

// Outcome is what came of a program that ran.
type Outcome struct {
	Code   int    // its exit code; -1 when a signal ended it
	State  string // the same in words: "exit status 3"
	Output string // stdout and stderr as they came, valid UTF-8
	Cut    bool   // it said more than was kept
	Left   bool   // it left processes behind, which were killed
}

// Run runs the program to its end. The error says that it did not run or did not end
// by itself; a program that ran and failed has an Outcome. Its whole process group is
// killed when ctx ends or its time is up, and what it left behind when it has ended.
func (c Command) Run(ctx context.Context) (Outcome, error) {
	program, err := Find(c.Argv[0])
	if err != nil {
		return Outcome{}, err
	}
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	limit := c.Output
	if limit <= 0 {
		limit = defaultOutput
	}
	out := &output{limit: limit, end: c.End}
	cmd := exec.CommandContext(ctx, program)
	cmd.Args, cmd.Dir = c.Argv, c.Dir
	cmd.Env = append([]string{"PATH=" + Path, "HOME=" + c.Dir, "LANG=C.UTF-8"}, c.Env...)
	cmd.Stdout, cmd.Stderr = out, out // the same writer: os/exec uses one pipe
	if c.Stdin != nil {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel, cmd.WaitDelay = func() error { return killGroup(cmd) }, afterExit
	if c.Grace > 0 {
		cmd.Cancel, cmd.WaitDelay = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }, c.Grace
	}
	err = cmd.Run()
	if cmd.Process != nil {
		_ = killGroup(cmd) // what it left behind; mostly there is nothing
	}
	o := Outcome{Output: strings.ToValidUTF8(string(out.b), "\uFFFD"), Cut: out.cut}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil:
		return o, fmt.Errorf("%s %w", c.Argv[0], ErrTimeout)
	case ctx.Err() != nil && err != nil:
		return o, context.Cause(ctx)
	}
	return c.outcome(o, cmd, err)
}

func (c Command) outcome(o Outcome, cmd *exec.Cmd, err error) (Outcome, error) {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit), err == nil:
	case errors.Is(err, exec.ErrWaitDelay):
		o.Left = true
	default:
		return o, fmt.Errorf("run %s: %w", c.Argv[0], reason(err))
	}
	o.Code, o.State = cmd.ProcessState.ExitCode(), cmd.ProcessState.String()
	return o, nil
}

// reason leaves out the path that an error of the system begins with.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// Find looks a program up.
func Find(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	if !strings.ContainsRune(name, filepath.Separator) {
		for _, dir := range filepath.SplitList(Path) {
			p := filepath.Join(dir, name)
			if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return p, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrNotFound)
}

// killGroup ends a program with everything that it started.
func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// output keeps the first limit bytes, or the last, and takes the rest, so that a program
// that talks on ends.
type output struct {
	b     []byte
	limit int
	end   bool
	cut   bool
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	if !o.end {
		p = p[:min(n, o.limit-len(o.b))]
	}
	o.b = append(o.b, p...)
	if over := len(o.b) - o.limit; over > 0 {
		o.b = append(o.b[:0], o.b[over:]...)
		o.cut = true
	}
	o.cut = o.cut || len(p) < n
	return n, nil
}

// Runnable reports why a program cannot be run, nil when it can.
func Runnable(name string) error {
	path, err := Find(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: %w", name, ErrNotFound)
	case err != nil:
		return fmt.Errorf("%s: %w", name, reason(err))
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not a program", name)
	}
	return nil
}
