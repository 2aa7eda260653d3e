// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"slices"
	"strconv"

	"github.com/blufio/blufio/bus"
)

const (
	maxPending = 32 // messages of before whose answers are waited for
	maxWords   = 40 // columns of a question that an answer is shown with

	sessionIdle = "idle" // the state of a session without open messages
)

// lookBack finds what the agent still answers of this session, and has it waited for.
// Nobody waits for the looking itself: when it fails, there are the replies.
func (s *shell) lookBack(ctx context.Context) {
	session := s.session
	s.spawn(func() {
		within, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		if found := s.unanswered(within, session); len(found) > 0 {
			s.post(func() {
				if s.session == session {
					s.await(ctx, found)
				}
			})
		}
	})
}

// unanswered returns the newest messages of a session that are open. Only when the
// agent has something to do for it, its history is read.
func (s *shell) unanswered(ctx context.Context, session string) []bus.MessageRecord {
	all, err := fetch(ctx, s.link, bus.AgentSessions, bus.SessionQuery{Channel: terminalChannel, Owner: terminalOwner, Limit: historyPage})
	busy := func(e bus.Session) bool { return e.Name == session && e.State != sessionIdle }
	if err != nil || !slices.ContainsFunc(all.Sessions, busy) {
		return nil
	}
	last, err := lastMessages(ctx, session, maxPending, func(ctx context.Context, q bus.HistoryQuery) (bus.History, error) {
		return fetch(ctx, s.link, bus.AgentHistory, q)
	})
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(last, func(m bus.MessageRecord) bool { return finished(m.State) })
}

// await has these messages waited for. Who has begun to write or to wait for something
// else is only told: the answers are shown as others' are.
func (s *shell) await(ctx context.Context, found []bus.MessageRecord) {
	found = slices.DeleteFunc(found, func(m bus.MessageRecord) bool {
		return slices.Contains(s.seen, m.ID) || s.task != nil && s.task.message != nil && s.task.id == m.ID
	})
	switch {
	case len(found) == 0 || s.task != nil && s.task.message != nil:
	case s.task != nil || s.editor.text != "":
		s.noteAnswering(found[0], len(found)-1)
	default:
		s.pending = found
		s.goOn(ctx)
	}
}

// goOn waits for the next of the messages of before, and has the questions looked up
// that replies from elsewhere belong to.
func (s *shell) goOn(ctx context.Context) {
	if s.task == nil && !s.quit && len(s.pending) > 0 {
		m := s.pending[0]
		s.pending = s.pending[1:]
		s.noteAnswering(m, len(s.pending))
		t := &task{what: "thinking", id: m.ID, message: &bus.Message{Text: m.Text, Session: s.session},
			answer: &answer{pane: s.pane, late: true}, replied: make(chan struct{}, 1)}
		s.begin(ctx, t, func(ctx context.Context) func() { return s.awaitOutcome(ctx, t, m.ID) })
	}
	for _, e := range s.elsewhere {
		if !e.asked {
			e.asked = true
			s.spawn(func() { s.askFor(ctx, e) })
		}
	}
}

func (s *shell) noteAnswering(m bus.MessageRecord, more int) {
	text := "the agent is still answering: " + firstWords(m.Text)
	if more > 0 {
		text += " (and " + strconv.Itoa(more) + " more)"
	}
	s.note(text)
}

// firstWords is the beginning of a question, on one line and in quotes.
func firstWords(text string) string {
	text = line(text)
	if short := truncate(text, maxWords); short != text {
		text = short + "…"
	}
	return `"` + text + `"`
}

// elsewhere is the reply to a message that was sent from elsewhere, or that the person
// did not wait for.
type elsewhere struct {
	reply    bus.Reply
	asked    bool // its question is being looked up
	known    bool // or was
	question string
}

// askFor looks the question up that a reply belongs to. Without one the reply is shown
// all the same.
func (s *shell) askFor(ctx context.Context, e *elsewhere) {
	within, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	r, err := fetch(within, s.link, bus.MessageGet, bus.MessageQuery{ID: e.reply.MessageID, Owner: terminalOwner})
	s.post(func() {
		e.known = true
		if err == nil {
			e.question = r.Text
		}
	})
}

// showElsewhere shows replies in the order in which they came.
func (s *shell) showElsewhere() {
	u := s.pane.u
	for len(s.elsewhere) > 0 && s.elsewhere[0].known {
		e := s.elsewhere[0]
		s.elsewhere = s.elsewhere[1:]
		what := "(a late answer, or one to a message from elsewhere)"
		if e.question != "" {
			what = "(the answer to " + firstWords(e.question) + ")"
		}
		s.pane.line(u.dim(what))
		for _, l := range textLines(e.reply.Text) {
			s.pane.line(u.dim(u.mark("│ ", "| ") + l))
		}
	}
}
