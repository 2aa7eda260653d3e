// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes. Scripts and units rely on them; package serve adds its own.
const (
	exitOK          = 0
	exitFailed      = 1
	exitNotRunning  = 3
	exitNoAnswer    = 4
	exitDenied      = 5
	exitUsage       = 64
	exitConfig      = 78
	exitInterrupted = 130 // as of a process that SIGINT has ended, to a shell: 128 and the signal
)

// failure is how a command ends that does not end well.
type failure struct {
	code int
	err  error  // nil: the output has said it all
	hint string // what to do about it, or ""
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// fail makes a failure with a hint.
func fail(code int, hint, format string, args ...any) *failure {
	return &failure{code: code, hint: hint, err: fmt.Errorf(format, args...)}
}

// exit ends a command with a code and without a word: its output told why.
func exit(code int) error {
	if code == exitOK {
		return nil
	}
	return &failure{code: code}
}

// report prints the failure and returns its code.
func (a *app) report(f *failure) int {
	if f.err == nil {
		return f.code
	}
	var problems config.Problems
	if errors.As(f.err, &problems) {
		for _, p := range problems {
			a.complain(p.Origin.String()+": "+p.Message, p.Hint)
		}
		return f.code
	}
	a.complain(f.err.Error(), f.hint)
	return f.code
}

// complain writes an error line and, if there is one, a hint line.
func (a *app) complain(message, hint string) {
	a.remark(slog.LevelError, a.ui(a.err).red("blufio:"), message, hint)
}

// remark writes a line that begins with a word, and a hint. The journal is told how much it
// matters, as of what is logged.
func (a *app) remark(level slog.Level, word, message, hint string) {
	before := ""
	if journaled(a.err, a.getenv("JOURNAL_STREAM")) {
		before = priority(level)
	}
	_, _ = fmt.Fprintf(a.err, "%s%s %s\n", before, word, line(message))
	if hint != "" {
		_, _ = fmt.Fprintf(a.err, "%s%s %s\n", before, a.ui(a.err).yellow("hint:"), line(hint))
	}
}

// explain finds the exit code and the hint for an error of any kind.
func explain(err error) *failure {
	var (
		f        *failure
		key      *embedded.KeyError
		remote   *bus.Error
		problems config.Problems
	)
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &problems): // first: a file that is named there may be a key
		return &failure{code: cmp.Or(deniedIf(err), exitFailed), err: err}
	case errors.As(err, &key):
		return &failure{code: exitDenied, err: err, hint: key.Fix}
	case errors.As(err, &remote):
		return explainBus(err, remote)
	case errors.Is(err, fs.ErrPermission):
		return &failure{code: exitDenied, err: err, hint: hintOwner}
	case errors.Is(err, context.Canceled):
		return &failure{code: exitInterrupted, err: errors.New("interrupted")}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{code: exitNoAnswer, err: errors.New("the daemon does not answer"), hint: hintHangs}
	}
	return &failure{code: exitFailed, err: err}
}

// deniedIf is the exit code for a file that this user may not open or make, 0 for any other error.
func deniedIf(err error) int {
	if errors.Is(err, fs.ErrPermission) {
		return exitDenied
	}
	return 0
}

func explainBus(err error, e *bus.Error) *failure {
	f := &failure{code: exitFailed, err: err, hint: e.Hint}
	switch e.Code {
	case bus.CodeDenied:
		f.code = exitDenied
	case bus.CodeInvalid:
		f.code = exitUsage
	case bus.CodeTimeout:
		f.code = exitNoAnswer
	}
	if f.hint == "" {
		f.hint = busHints[e.Code]
	}
	f.hint = serve.Effect(f.hint)
	return f
}

// busHints are for errors that come without one.
var busHints = map[bus.Code]string{
	bus.CodeBusy:         "try again in a moment",
	bus.CodeDenied:       "this key does not permit it",
	bus.CodeTimeout:      hintHangs,
	bus.CodeUnavailable:  "`blufio status` shows which part is not working",
	bus.CodeInternal:     "the daemon's log has the details",
	bus.CodeBudget:       "raise cost.daily_usd or cost.monthly_usd in blufio.toml, or wait for the next period",
	bus.CodeStopped:      "`blufio cost resume` lets it spend again",
	bus.CodePriceUnknown: "add the model to [cost.prices] in blufio.toml",
}

// turnHint is what to do about a message that was not answered, by the code of its
// error. What the reply says is not said again.
func turnHint(code bus.Code) string {
	switch code {
	case bus.CodeCanceled: // as was asked for
		return ""
	case bus.CodeDenied: // by the model's provider, to the daemon
		return "check the key of the model's provider, and what it may do; `blufio status` names the provider"
	case bus.CodeTimeout:
		return "the model did not answer in time; ask again, or see `blufio doctor --only BLF-LLM`"
	case bus.CodeUnavailable, "": // status need not know: one call that fails makes no part of the daemon sick
		return "`blufio doctor` looks for what is wrong; `blufio doctor --only BLF-LLM` asks the model's provider"
	}
	return busHints[code]
}

// misuse is wrong usage of cmd.
func misuse(cmd *cobra.Command, format string, args ...any) *failure {
	return fail(exitUsage, "`"+cmd.CommandPath()+" --help` shows how to use it", format, args...)
}

func flagError(cmd *cobra.Command, err error) error {
	var wrong *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &wrong):
		return misuse(cmd, "--%s: %s", wrong.GetFlag().Name, wrongValue(wrong.GetFlag(), wrong.GetValue()))
	case errors.As(err, &missing):
		return misuse(cmd, "--%s needs a value", missing.GetFlag().Name)
	}
	f := misuse(cmd, "%w", err)
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		if near := nearestFlag(cmd, name); near != "" {
			f.hint = "did you mean --" + near + "?"
		}
	}
	if strings.HasPrefix(err.Error(), "unknown shorthand flag") && strings.Contains(cmd.Use, "TEXT") {
		f.hint = "a text that begins with - stands behind --, as in `" + cmd.CommandPath() + " -- -1 is cold`"
	}
	return f
}

// wrongValue says what a flag takes that cannot take this.
func wrongValue(f *pflag.Flag, value string) string {
	switch f.Value.Type() {
	case "bool":
		return fmt.Sprintf("%q is neither true nor false; the flag needs no value", value)
	case "int64":
		return fmt.Sprintf("%q is not a whole number", value)
	case "duration":
		return fmt.Sprintf("%q is not a duration; write it like 90s or 5m", value)
	}
	return fmt.Sprintf("%q cannot be understood", value)
}

// usage turns cobra's own error about an unknown command into ours.
func usage(cmd *cobra.Command, err error) error {
	if !strings.HasPrefix(err.Error(), "unknown command ") || errors.As(err, new(*failure)) {
		return err
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	name := strings.TrimPrefix(message, `unknown command "`)
	name, _, _ = strings.Cut(name, `"`)
	return unknownCommand(cmd, name)
}

func unknownCommand(cmd *cobra.Command, name string) error {
	f := misuse(cmd, "unknown command %q", strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), "blufio")+" "+name))
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		f.hint = "did you mean `" + cmd.CommandPath() + " " + near[0] + "`?"
	}
	return f
}

// subcommandOnly refuses arguments that name no subcommand.
func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}

// noArgs refuses any argument.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misuse(cmd, "`%s` takes no arguments, but got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// oneArg wants exactly one argument, called what.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || strings.TrimSpace(args[0]) == "" {
			return misuse(cmd, "`%s` needs exactly one %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

// atMostOne allows one argument, called what.
func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return misuse(cmd, "`%s` takes one %s, but got %d; quote it for the shell", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}
