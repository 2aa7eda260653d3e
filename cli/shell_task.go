// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	maxEarly  = 1024 // pieces and replies that came before the message had its id
	askWithin = 10 * time.Second
)

// task is something the shell waits for: an answer, or a list.
type task struct {
	what   string // for the status: "thinking"
	since  time.Time
	cancel context.CancelFunc

	// Of a message only:
	message  *bus.Message
	id       string // once it is stored
	stopping bool   // the person wants no answer
	answer   *answer
	early    []func()      // what came while the id was not known
	replied  chan struct{} // told when the reply is there
}

// status is what a person sees while nothing comes. It is empty in the first second,
// so that a quick answer does not flicker.
func (t *task) status(down bool, now time.Time) string {
	what, since := t.what, now.Sub(t.since)
	switch {
	case down:
		what = "waiting for the daemon"
	case since < time.Second:
		return ""
	case t.message != nil && t.id == "":
		what = "sending"
	}
	return "…" + what + " " + span(since)
}

// begin makes t what the shell waits for, and work work for it beside the loop. What
// work returns is run by the loop if the person still waits.
func (s *shell) begin(ctx context.Context, t *task, work func(context.Context) func()) {
	ctx, t.cancel = context.WithCancel(ctx)
	t.since = s.app.now()
	s.task = t
	s.spawn(func() {
		if done := work(ctx); done != nil {
			s.postFor(t, done)
		}
	})
}

// postFor has the loop run fn unless t was given up in the meantime.
func (s *shell) postFor(t *task, fn func()) {
	s.post(func() {
		if s.task == t {
			fn()
		}
	})
}

func (s *shell) stopTask() {
	if s.task != nil {
		s.task.cancel()
		s.task = nil
	}
}

// interrupt is Ctrl-C while something is waited for. The first one stops the answer,
// and its end is waited for; the next one does not wait.
func (s *shell) interrupt(ctx context.Context) {
	t := s.task
	if t.id == "" || t.stopping {
		s.leaveTask()
		return
	}
	t.stopping, t.what = true, "stopping"
	s.spawn(func() {
		if _, err := fetch(ctx, s.link, bus.MessageCancel, bus.MessageQuery{ID: t.id, Owner: terminalOwner}); err != nil && ctx.Err() == nil {
			s.post(func() { s.complain(fmt.Errorf("the answer was not stopped: %w", err)) })
		}
	})
}

// leaveTask gives up waiting: the person may type again.
func (s *shell) leaveTask() {
	t := s.task
	s.stopTask()
	s.pending = nil
	switch {
	case t.message == nil:
	case t.id != "":
		s.note("not waiting for it; /history shows what became of it")
	default: // with the same external id it is still one message
		s.unsure = t.message
		s.note("the message may not have arrived; send it again as it is, and it arrives once")
	}
}

// leaveShell is Ctrl-D while something is waited for.
func (s *shell) leaveShell() {
	switch t := s.task; {
	case t.message == nil:
	case t.id == "":
		s.note("the message may not have arrived; /history shows whether it did")
	default:
		s.note("the answer goes on without you; /history shows it when you come back")
	}
	s.quit = true
}

// command does what the shell itself can do, and leaves the rest to the agent.
func (s *shell) command(ctx context.Context, text string) {
	switch name, argument := slash(text); {
	case name == "quit" || name == "exit":
		s.quit = true
	case name == "session" && argument != "":
		s.session, s.pending = argument, nil
		s.know(argument)
		s.note("session " + argument)
		s.lookBack(ctx)
	case name == "session":
		s.note("this is session " + s.session + "; /session NAME goes to another one")
	case name == "sessions":
		s.sessions(ctx)
	case name == "history":
		s.showHistory(ctx, argument)
	default:
		s.send(ctx, text)
	}
}

// send hands a message over and waits for its answer. While the daemon is away, the
// message waits, too.
func (s *shell) send(ctx context.Context, text string) {
	m := bus.Message{Channel: terminalChannel, Owner: terminalOwner, Session: s.session, Text: text, ExternalID: rand.Text()}
	if u := s.unsure; u != nil && u.Text == m.Text && u.Session == m.Session {
		m.ExternalID = u.ExternalID
	}
	s.unsure = nil
	t := &task{what: "thinking", message: &m, answer: &answer{pane: s.pane}, replied: make(chan struct{}, 1)}
	s.begin(ctx, t, func(ctx context.Context) func() {
		accepted, err := fetch(ctx, s.link, bus.MessageReceive, m)
		if err != nil {
			return func() { s.failed(err) }
		}
		s.postFor(t, func() { s.accepted(t, accepted) })
		return s.awaitOutcome(ctx, t, accepted.ID)
	})
}

// awaitOutcome waits for the end of a message that is stored.
func (s *shell) awaitOutcome(ctx context.Context, t *task, id string) func() {
	r, err := s.link.outcome(ctx, id, t.replied)
	if err != nil {
		return func() { s.failed(fmt.Errorf("the message is stored, but its reply cannot be fetched: %w", err)) }
	}
	return func() { s.outcome(t, r) }
}

func (s *shell) failed(err error) {
	s.stopTask()
	s.pane.freshLine()
	s.complain(err)
}

func (s *shell) accepted(t *task, a bus.Accepted) {
	t.id = a.ID
	s.know(a.Session)
	early := t.early
	t.early = nil
	for _, fn := range early {
		fn()
	}
}

// outcome ends a task with its answer.
func (s *shell) outcome(t *task, r bus.MessageRecord) {
	s.stopTask()
	s.saw(r.ID)
	t.answer.finish(r)
	if name, _ := slash(r.Text); name == "help" {
		s.pane.line("\n" + shellHelp)
	}
}

// delta is a piece of somebody's answer.
func (s *shell) delta(d bus.Delta) {
	switch t := s.task; {
	case t == nil || t.message == nil || d.Owner != terminalOwner:
	case t.id == d.MessageID:
		t.answer.delta(d)
	case t.id == "" && len(t.early) < maxEarly:
		t.early = append(t.early, func() { s.delta(d) })
	}
}

// reply is somebody's answer. Ours is fetched by who waits for it; another's is shown
// if it belongs to this session.
func (s *shell) reply(r bus.Reply) {
	t := s.task
	switch {
	case t != nil && t.message != nil && t.id == "":
		if len(t.early) < maxEarly {
			t.early = append(t.early, func() { s.reply(r) })
		}
	case t != nil && t.message != nil && t.id == r.MessageID:
		select {
		case t.replied <- struct{}{}:
		default: // it knows
		}
	case r.Owner != terminalOwner || r.Session != s.session || slices.Contains(s.seen, r.MessageID):
	case slices.ContainsFunc(s.pending, func(m bus.MessageRecord) bool { return m.ID == r.MessageID }): // its turn comes
	case len(s.elsewhere) < maxElsewhere:
		s.saw(r.MessageID)
		s.elsewhere = append(s.elsewhere, &elsewhere{reply: r})
	}
}

func (s *shell) saw(id string) {
	if s.seen = append(s.seen, id); len(s.seen) > maxSeen {
		s.seen = slices.Clone(s.seen[1:])
	}
}

func (s *shell) know(session string) {
	if !slices.Contains(s.names, session) && len(s.names) < maxSeen {
		s.names = append(s.names, session)
	}
}

func (s *shell) lost() {
	s.down = true
	s.note("connection lost, trying again…")
}

func (s *shell) found() {
	s.down = false
	s.note("connected again")
}

// sessions lists the conversations of this terminal.
func (s *shell) sessions(ctx context.Context) {
	s.list(ctx, func(ctx context.Context) (string, error) {
		all, err := fetch(ctx, s.link, bus.AgentSessions, bus.SessionQuery{Channel: terminalChannel, Owner: terminalOwner})
		if err != nil {
			return "", err
		}
		s.post(func() {
			for _, e := range all.Sessions {
				s.know(e.Name)
			}
		})
		return sessionsText(s.pane.u, all.Sessions, s.session, s.app.now()), nil
	})
}

// showHistory lists the last messages of this session.
func (s *shell) showHistory(ctx context.Context, argument string) {
	n, err := historyCount(argument)
	if err != nil {
		s.complain(err)
		return
	}
	session := s.session
	s.list(ctx, func(ctx context.Context) (string, error) {
		last, err := lastMessages(ctx, session, n, func(ctx context.Context, q bus.HistoryQuery) (bus.History, error) {
			return fetch(ctx, s.link, bus.AgentHistory, q)
		})
		return historyText(s.pane.u, last, s.app.now()), err
	})
}

// list shows text that is made beside the loop. The daemon is not waited for for long.
func (s *shell) list(ctx context.Context, text func(context.Context) (string, error)) {
	s.begin(ctx, &task{what: "looking"}, func(ctx context.Context) func() {
		within, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		shown, err := text(within)
		if err != nil && !errors.Is(err, context.Canceled) {
			return func() { s.failed(err) }
		}
		return func() {
			s.stopTask()
			s.pane.line(shown)
		}
	})
}
