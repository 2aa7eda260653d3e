// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const mainSession = "main"

type shellOptions struct {
	session   string
	noHistory bool
	timeout   time.Duration
}

func (a *app) shellCommand() *cobra.Command {
	var o shellOptions
	cmd := &cobra.Command{
		Use:   "shell",
		Short: "Talk with the agent in a terminal",
		Long: "Talk with the agent in a terminal. An answer is shown while it is being made.\n\n" +
			"A backslash at the end of a line continues the message on the next one; a line of\n" +
			"``` or <<< opens a block that the same line closes; what is pasted is one message.\n" +
			"Ctrl-C clears the line, or stops the answer, a second one the waiting for it;\n" +
			"Ctrl-D leaves, and an answer under way goes on: a shell that is opened again waits\n" +
			"for it. When the daemon restarts, the shell waits for it, too.\n\n" +
			shellHelp + "\n\nOther commands that begin with a slash are the agent's: /help lists them. If\n" +
			"standard input is not a terminal, each of its lines is a message, and the replies\n" +
			"are printed; the exit code is 1 if one of them failed.",
		Example: "  blufio shell\n" +
			"  blufio shell --session work\n" +
			"  printf '%s\\n' /new 'hello' | blufio shell",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.timeout <= 0 {
				return misuse(cmd, "--timeout must be more than zero")
			}
			if strings.TrimSpace(o.session) == "" {
				return misuse(cmd, "--session needs a name")
			}
			return a.shell(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.session, "session", mainSession, "`NAME` of the conversation")
	cmd.Flags().BoolVar(&o.noHistory, "no-history", false, "do not remember what is typed beyond this run")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for each reply when input is not a terminal, as a `DURATION`")
	return cmd
}

// shell talks with a person at a terminal, or with a script.
func (a *app) shell(ctx context.Context, o shellOptions) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	in, person := terminal(a.in)
	out, seen := a.stageForShell()
	if !person || !seen {
		return a.shellLines(ctx, o)
	}
	return a.shellTerminal(ctx, o, in, out)
}

// stageForShell is the terminal to draw on. --plain takes the colours away, not the
// editing of lines.
func (a *app) stageForShell() (*os.File, bool) {
	f, ok := terminal(a.out)
	return f, ok && !a.json && a.getenv("TERM") != "dumb"
}

// shellTerminal connects, then takes the terminal over until the person leaves.
func (a *app) shellTerminal(ctx context.Context, o shellOptions, in, out *os.File) error {
	s := newShell(a, o, &pane{w: out, u: a.ui(out), size: sizeOf(out)})
	conn, err := s.link.dial(ctx)
	if err != nil {
		return err
	}
	path := a.historyPath()
	if o.noHistory {
		path = ""
	}
	past, historyErr := openHistory(path)
	s.editor.history = past

	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		hangUp(ctx, conn)
		return fail(exitFailed, "", "read keys: %w", err)
	}
	defer func() { _ = term.Restore(int(in.Fd()), before) }() // nothing is left to do about it
	resized, deaf := listen(syscall.SIGWINCH)
	defer deaf()
	s.greet(historyErr)
	ctx, cancel := context.WithCancel(ctx)
	keys := make(chan []key)
	s.spawn(func() { defer close(keys); readKeys(ctx, in, keys) })
	s.spawn(func() { s.link.keep(ctx, conn) })
	err = s.run(ctx, keys, resized)
	cancel()
	s.workers.Wait()
	return err
}

// sizeOf tells the size of a terminal at any time.
func sizeOf(f *os.File) func() (columns, rows int) {
	return func() (int, int) {
		columns, rows, err := term.GetSize(int(f.Fd()))
		if err != nil || columns <= 0 || rows <= 0 {
			return 80, 24
		}
		return columns, rows
	}
}

// newShell makes a shell that is not connected yet.
func newShell(a *app, o shellOptions, p *pane) *shell {
	s := &shell{app: a, pane: p, session: o.session, editor: &editor{history: &history{}},
		todo: make(chan func(), 64), ended: make(chan struct{})}
	s.link = &link{app: a, heard: linkEars{
		lost:  func() { s.post(s.lost) },
		found: func() { s.post(s.found) },
		gone:  func(err error) { s.post(func() { s.err = err }) },
		delta: func(d bus.Delta) { s.post(func() { s.delta(d) }) },
		reply: func(r bus.Reply) { s.post(func() { s.reply(r) }) },
	}}
	return s
}
