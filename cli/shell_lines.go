// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"golang.org/x/sys/unix"
)

// shellLines takes messages from lines of standard input, one after another, and
// prints the replies. A message that fails does not keep the next ones from being sent.
func (a *app) shellLines(ctx context.Context, o shellOptions) error {
	r := &lineShell{app: a, o: o, wait: &waiter{app: a}}
	defer r.wait.leave(ctx)
	if err := r.wait.connect(ctx); err != nil {
		return err
	}
	pending := ""
	lines := lineReader(ctx, a.in)
	for r.ask(true); !r.quit && lines.Scan(); r.ask(pending == "") {
		l := strings.TrimSuffix(lines.Text(), "\r")
		if !utf8.ValidString(l) {
			return fail(exitUsage, "", "a line of standard input is not valid UTF-8")
		}
		text, whole := message(pending + l)
		if pending = text; whole {
			pending = ""
			r.take(ctx, text)
		}
	}
	switch err := inputError(lines.Err()); {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return exit(exitInterrupted)
	case r.failed && pending == "":
		return exit(exitFailed)
	case pending != "":
		return fail(exitFailed, "close the block with the line that opened it", "the last message is not complete and was not sent")
	}
	return nil
}

// lineShell is the shell of a script, or of a terminal that cannot draw.
type lineShell struct {
	app    *app
	o      shellOptions
	wait   *waiter
	failed bool
	quit   bool
}

// ask shows a prompt where a person types.
func (r *lineShell) ask(first bool) {
	if _, person := terminal(r.app.in); !person || r.quit {
		return
	}
	prompt := "> "
	if !first {
		prompt = "  "
	}
	_, _ = io.WriteString(r.app.err, prompt) // without it, typing works all the same
}

// take does what one message says and reports what goes wrong.
func (r *lineShell) take(ctx context.Context, text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	if err := r.command(ctx, text); err != nil {
		r.failed = true
		r.app.report(explain(err))
	}
}

func (r *lineShell) command(ctx context.Context, text string) error {
	a := r.app
	switch name, argument := slash(text); {
	case name == "quit" || name == "exit":
		r.quit = true
		return nil
	case name == "session" && argument != "":
		r.o.session = argument
		return nil
	case name == "session":
		return a.print(r.o.session + "\n")
	case name == "sessions":
		all, err := ask(ctx, a, bus.AgentSessions, bus.SessionQuery{Channel: terminalChannel, Owner: terminalOwner})
		if err != nil {
			return err
		}
		return a.print(sessionsText(a.ui(a.out), all.Sessions, r.o.session, a.now()))
	case name == "history":
		return r.history(ctx, argument)
	}
	return r.send(ctx, text)
}

func (r *lineShell) history(ctx context.Context, argument string) error {
	n, err := historyCount(argument)
	if err != nil {
		return err
	}
	last, err := lastMessages(ctx, r.o.session, n, func(ctx context.Context, q bus.HistoryQuery) (bus.History, error) {
		return ask(ctx, r.app, bus.AgentHistory, q)
	})
	if err != nil {
		return err
	}
	return r.app.print(historyText(r.app.ui(r.app.out), last, r.app.now()))
}

func (r *lineShell) send(ctx context.Context, text string) error {
	waiting, cancel := context.WithTimeout(ctx, r.o.timeout)
	defer cancel()
	m := bus.Message{Channel: terminalChannel, Owner: terminalOwner, Session: r.o.session, Text: text, ExternalID: rand.Text()}
	accepted, err := r.deliver(waiting, m)
	if err != nil {
		return undelivered(ctx, waiting, err)
	}
	record, err := r.wait.outcome(waiting, accepted.ID)
	switch {
	case ctx.Err() != nil:
		return fail(exitInterrupted, fetchHint(accepted.ID), "interrupted; the message is stored and will be answered")
	case waiting.Err() != nil:
		return fail(exitFailed, fetchHint(accepted.ID), "no reply within %s; the message is stored and will be answered", r.o.timeout)
	case err != nil:
		return err
	}
	return r.app.printReply(record, r.app.printJSONLine)
}

// deliver hands the message over as often as it takes: the daemon was there when the
// script began, so it is waited for when it starts again.
func (r *lineShell) deliver(ctx context.Context, m bus.Message) (bus.Accepted, error) {
	for {
		accepted, err := r.wait.deliver(ctx, m)
		if err == nil || !passing(err) || !pause(ctx, dialAgain) {
			return accepted, err
		}
	}
}

// lineReader reads standard input line by line until it ends or ctx does.
func lineReader(ctx context.Context, in io.Reader) *bufio.Scanner {
	if f, ok := in.(*os.File); ok {
		in = &patientReader{ctx: ctx, file: f}
	}
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, maxInput)
	return scan
}

// inputError explains why there is no next line, nil when the input has ended.
func inputError(err error) error {
	switch {
	case errors.Is(err, bufio.ErrTooLong):
		return fail(exitFailed, "send it in parts", "a line of standard input is longer than %s", size(maxInput))
	case errors.Is(err, context.Canceled):
		return exit(exitInterrupted)
	case err != nil:
		return fail(exitFailed, "", "read standard input: %w", err)
	}
	return nil
}

// patientReader looks before it reads, because a read of a terminal or a pipe cannot
// be called off.
type patientReader struct {
	ctx  context.Context
	file *os.File
}

func (r *patientReader) Read(p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(r.file.Fd()), Events: unix.POLLIN}}
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if n, err := unix.Poll(fds, keyPoll); n > 0 || err != nil && err != unix.EINTR {
			return r.file.Read(p)
		}
	}
}
