// SPDX-License-Identifier: MIT OR Apache-2.0

package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/command"
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
	maxArgs     = 64
	maxArgBytes = 16 << 10
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
	if _, err := command.Find(in.Argv[0]); err != nil {
		return Result{}, bus.Errorf(bus.CodeNotFound, "there is no command %q on this machine", in.Argv[0])
	}
	root, err := s.files.open()
	if err != nil {
		return Result{}, err
	}
	if err := root.Close(); err != nil {
		return Result{}, fmt.Errorf("close workspace: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout) // the wait for a place counts
	defer cancel()
	give, err := s.slots.take(ctx)
	if err != nil {
		return Result{}, err
	}
	defer give()
	return s.run(ctx, in.Argv)
}

func (s shell) run(ctx context.Context, argv []string) (Result, error) {
	out, err := command.Command{Argv: argv, Dir: s.files.dir, Output: maxOutside}.Run(ctx)
	from := argv[0] + " ended well"
	switch {
	case errors.Is(err, command.ErrTimeout):
		return Result{}, bus.Errorf(bus.CodeTimeout, "%s took longer than %s and was killed", argv[0], s.timeout)
	case err != nil:
		return Result{}, bus.Errorf(bus.CodeUnavailable, "%v", err)
	case out.Left:
		from = argv[0] + " left processes behind, which were killed"
	case out.Code != 0:
		from = fmt.Sprintf("%s failed: %s", argv[0], out.State)
	}
	return Result{Text: outside(from, out.Output, out.Cut)}, nil
}
