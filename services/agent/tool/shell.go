// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
)

// shell runs one of the owner's commands: no interpreter in between, no
// environment of the daemon, in the workspace. A crash between the command and
// the step's commit runs it again: what it does cannot be taken back.
type shell struct {
	allow   []string
	files   *workspace
	timeout time.Duration
	slots   slots
}

const (
	commandPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	maxArgs     = 64
	maxArgBytes = 16 << 10
	afterExit   = time.Second // for what a command started and left behind, before its output is closed
)

// Spec describes the tool.
func (s shell) Spec() llm.ToolSpec {
	names := strings.Join(s.allow, ", ")
	if short, cut := shorten(names, 300); cut {
		names = short + "…"
	}
	return llm.ToolSpec{Name: nameShell, Description: "Run a command in the workspace: " + names + ".",
		Schema: json.RawMessage(`{"type":"object","properties":{"argv":{"type":"array","items":{"type":"string"},"minItems":1}},"required":["argv"],"additionalProperties":false}`)}
}

// Call runs the command.
func (s shell) Call(ctx context.Context, c Call) (Result, error) {
	var in struct {
		Argv []string `json:"argv"`
	}
	if err := decode(c.Input, &in); err != nil {
		return Result{}, err
	}
	size := 0
	for _, a := range in.Argv {
		size += len(a)
		if strings.ContainsRune(a, 0) {
			size = maxArgBytes + 1
		}
	}
	switch {
	case len(in.Argv) == 0 || len(in.Argv) > maxArgs || size > maxArgBytes:
		return Result{}, bus.Errorf(bus.CodeInvalid, "argv has 1 to %d words, together at most %d bytes", maxArgs, maxArgBytes)
	case !slices.Contains(s.allow, in.Argv[0]):
		return Result{}, bus.Errorf(bus.CodeDenied, "the owner does not allow the command %.80q (tools.shell)", in.Argv[0])
	}
	program, err := find(in.Argv[0])
	if err != nil {
		return Result{}, err
	}
	root, err := s.files.open()
	if err != nil {
		return Result{}, err
	}
	if err := root.Close(); err != nil {
		return Result{}, fmt.Errorf("close workspace: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	give, err := s.slots.take(ctx)
	if err != nil {
		return Result{}, err
	}
	defer give()
	return s.run(ctx, program, in.Argv)
}

// find looks a command up in the places where programs are, not in the daemon's
// own PATH and never in the workspace.
func find(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(commandPath) {
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", bus.Errorf(bus.CodeNotFound, "there is no command %q on this machine", name)
}

func (s shell) run(ctx context.Context, program string, argv []string) (Result, error) {
	out := &output{limit: maxOutside}
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = argv
	cmd.Dir = s.files.dir
	cmd.Env = []string{"PATH=" + commandPath, "HOME=" + s.files.dir, "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = out, out // the same writer: os/exec uses one pipe
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = afterExit
	err := cmd.Run()
	if cmd.Process != nil {
		_ = killGroup(cmd) // what it left behind; mostly there is nothing
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Result{}, bus.Errorf(bus.CodeTimeout, "%s took longer than %s and was killed", argv[0], s.timeout)
	}
	from := argv[0] + " ended well"
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		from = fmt.Sprintf("%s failed: %s", argv[0], exit.ProcessState)
	case errors.Is(err, exec.ErrWaitDelay):
		from = argv[0] + " left processes behind, which were killed"
	case err != nil:
		return Result{}, bus.Errorf(bus.CodeUnavailable, "%s cannot be run: %v", argv[0], errors.Unwrap(err))
	}
	return Result{Text: outside(from, strings.ToValidUTF8(out.b.String(), "\uFFFD"), out.cut)}, nil
}

// killGroup ends a command with everything that it started.
func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// output keeps the first limit bytes and takes the rest, so that a command that
// talks on ends.
type output struct {
	b     strings.Builder
	limit int
	cut   bool
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	left := o.limit - o.b.Len()
	if len(p) > left {
		o.cut = true
		o.b.Write(p[:left])
		return len(p), nil
	}
	return o.b.Write(p)
}
