// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/bus"
	"github.com/spf13/cobra"
)

const (
	// What a person at this machine's terminal is to the agent.
	terminalChannel = "terminal"
	terminalOwner   = "owner"

	maxInput  = 1 << 20                // bytes read from standard input; the agent's own bound is lower
	lookEvery = 5 * time.Second        // a reply that was not heard is asked for
	dialAgain = 500 * time.Millisecond // between attempts to find a daemon that restarts
)

type sendOptions struct {
	session string
	timeout time.Duration
	noWait  bool
}

func (a *app) sendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send [TEXT | -]",
		Short: "Send a message to the agent and print its reply",
		Long: "Send a message to the agent and print its reply.\n\n" +
			"The text is taken from the arguments, or from standard input if there are none\n" +
			"and it is not a terminal, or if the text is \"-\". Once the daemon has stored the\n" +
			"message it will be answered, whether or not this command still waits.",
		Example: "  blufio send \"What is on my list?\"\n" +
			"  git diff | blufio send --session review -\n" +
			"  id=$(blufio send --no-wait \"think about it\"); blufio message \"$id\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.timeout <= 0 {
				return misuse(cmd, "--timeout must be more than zero")
			}
			if cmd.Flags().Changed("session") && strings.TrimSpace(o.session) == "" {
				return misuse(cmd, "--session needs a name")
			}
			text, err := a.messageText(cmd, args)
			if err != nil {
				return err
			}
			return a.send(cmd.Context(), o, text)
		},
	}
	cmd.Flags().StringVar(&o.session, "session", "", "`NAME` of the conversation (default \"main\")")
	cmd.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long to wait for the reply, as a `DURATION`")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "print the message's id once it is stored, and leave")
	return cmd
}

// messageText takes the message from the arguments or from standard input.
func (a *app) messageText(cmd *cobra.Command, args []string) (string, error) {
	_, person := terminal(a.in)
	switch {
	case len(args) == 0 && person:
		return "", misuse(cmd, "there is no text to send")
	case len(args) > 0 && (len(args) != 1 || args[0] != "-"):
		return checked(cmd, strings.Join(args, " "))
	}
	data, err := io.ReadAll(io.LimitReader(a.in, maxInput+1))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if len(data) > maxInput {
		return "", fail(exitFailed, "send it in parts", "standard input is longer than %s", size(maxInput))
	}
	return checked(cmd, strings.TrimRight(string(data), "\n"))
}

func checked(cmd *cobra.Command, text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", misuse(cmd, "the text to send is not valid UTF-8")
	}
	if strings.TrimSpace(text) == "" {
		return "", misuse(cmd, "the text to send is empty")
	}
	return text, nil
}

// send hands the message over and waits for what becomes of it.
func (a *app) send(ctx context.Context, o sendOptions, text string) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()

	w := &waiter{app: a, again: func(err error) {
		a.note("not taken yet: %v; trying again, for %s at most", explain(err), o.timeout)
	}}
	defer w.leave(ctx)
	accepted, err := w.deliver(waiting, bus.Message{
		Channel: terminalChannel, Owner: terminalOwner, Session: o.session, Text: text,
		ExternalID: rand.Text(), // makes it one message, however often it is handed over
	})
	if err != nil {
		return undelivered(ctx, waiting, err)
	}
	if o.noWait {
		return a.printAccepted(accepted)
	}
	record, err := w.outcome(waiting, accepted.ID)
	switch {
	case ctx.Err() != nil:
		return fail(exitInterrupted, fetchHint(accepted.ID), "interrupted; the message is stored and will be answered")
	case waiting.Err() != nil:
		return fail(exitFailed, fetchHint(accepted.ID), "no reply within %s; the message is stored and will be answered", o.timeout)
	case err != nil:
		f := explain(err)
		return fail(f.code, fetchHint(accepted.ID), "the message is stored, but its reply cannot be fetched: %w", err)
	}
	return a.printReply(record, a.printJSON)
}

func fetchHint(id string) string { return "get the reply with `blufio message " + id + "`" }

// undelivered explains why a message was not accepted. When time ran out with the
// answer still open, it may be stored all the same.
func undelivered(ctx, waiting context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fail(exitInterrupted, "", "interrupted before the daemon confirmed the message")
	case waiting.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return fail(exitNoAnswer, hintHangs, "the daemon did not confirm the message in time")
	}
	return err
}

func (a *app) printAccepted(acc bus.Accepted) error {
	if a.json {
		return a.printJSON(acc)
	}
	return a.print(acc.ID + "\n")
}

// printReply ends a send: the reply on standard output, or why there is none. show
// writes it for scripts.
func (a *app) printReply(r bus.MessageRecord, show func(any) error) error {
	answered := r.State == bus.StateAnswered
	switch {
	case a.json && answered:
		return show(r)
	case a.json:
		return errors.Join(show(r), exit(exitFailed))
	case answered:
		return a.printText(r.Reply)
	}
	reason := r.Reply
	if reason == "" {
		reason = "the message could not be answered (" + r.State + ")"
	}
	return fail(exitFailed, turnHint(r.Error), "%s", reason)
}
