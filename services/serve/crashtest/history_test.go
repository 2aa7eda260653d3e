// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
)

// historyLimit is the size of a page.
const historyLimit = 500

// histories compares the driver's list with what the daemon tells.
func (f *findings) histories(t *testing.T, p plan) {
	t.Helper()
	f.messages = map[string]told{}
	for s := range speaker(f.speakers) {
		acks, err := readJournal(p.journal(s))
		if err != nil {
			t.Fatal(err)
		}
		history, err := s.history(t.Context(), p)
		if err != nil {
			t.Fatalf("%s: %v", s.session(), err)
		}
		f.acknowledged += len(acks)
		f.compare(s, acks, history)
	}
}

// compare wants exactly the acknowledged messages, in their order, each with an
// answer of its own.
func (f *findings) compare(s speaker, acks []ack, history []bus.MessageRecord) {
	byText := map[string][]bus.MessageRecord{}
	for i, m := range history {
		byText[m.Text] = append(byText[m.Text], m)
		if i > 0 && m.Seq <= history[i-1].Seq {
			f.problem("%s: position %d comes after %d", s.session(), m.Seq, history[i-1].Seq)
		}
	}
	for i, a := range acks {
		switch same := byText[a.Text]; {
		case a.N != i+1:
			f.problem("%s: line %d of the driver's list is message %d", s.session(), i+1, a.N)
		case len(same) == 0:
			f.lost++
			f.problem("%s: message %d was acknowledged and is gone", s.session(), a.N)
		case len(same) > 1:
			f.problem("%s: message %d is there %d times", s.session(), a.N, len(same))
		default:
			f.check(s, a, same[0])
		}
		if i < len(history) && history[i].Text != a.Text {
			f.problem("%s: at place %d is %q, want message %d", s.session(), i+1, history[i].Text, a.N)
		}
	}
	if len(history) != len(acks) {
		f.problem("%s: the history has %d messages, %d were acknowledged", s.session(), len(history), len(acks))
	}
}

// check wants the message answered by the reply to it.
func (f *findings) check(s speaker, a ack, m bus.MessageRecord) {
	f.messages[m.ID] = told{s, a.N, m.State, m.Text, m.Reply}
	switch {
	case a.ID != "" && m.ID != a.ID:
		f.problem("%s: message %d was acknowledged as %s and is %s", s.session(), a.N, a.ID, m.ID)
	case m.State == bus.StateDead:
		f.dead++ // whether it may be is for the database to say
	case m.State == bus.StateFailed && f.mayFail && strings.HasPrefix(m.Reply, "I could not answer: "):
		f.failed++
	case m.State != bus.StateAnswered:
		f.problem("%s: message %d is %s: %s", s.session(), a.N, m.State, m.Reply)
	case !s.answers(a.N, m.Reply):
		f.problem("%s: message %d has the reply to something else: %q", s.session(), a.N, m.Reply)
	case a.Reply != "" && a.Reply != m.Reply:
		f.problem("%s: message %d was answered with %q first and has %q now", s.session(), a.N, a.Reply, m.Reply)
	default:
		f.answered++
	}
}

// history reads the whole session, over the way the speaker speaks.
func (s speaker) history(ctx context.Context, p plan) ([]bus.MessageRecord, error) {
	read := s.reader(ctx, p)
	var all []bus.MessageRecord
	for after := int64(0); ; {
		page, err := read(after)
		if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		all = append(all, page.Messages...)
		if !page.More || len(page.Messages) == 0 {
			return all, nil
		}
		after = page.Messages[len(page.Messages)-1].Seq
	}
}

// reader returns what reads a page.
func (s speaker) reader(ctx context.Context, p plan) func(after int64) (bus.History, error) {
	if s.channel() != gateway {
		return func(after int64) (bus.History, error) {
			return ask(ctx, p, bus.AgentHistory, bus.HistoryQuery{Channel: s.channel(), Owner: s.owner(), Session: s.session(), After: after, Limit: historyLimit})
		}
	}
	l := &httpLane{speaker: s, plan: p}
	return func(after int64) (page bus.History, err error) {
		path := fmt.Sprintf("/v1/sessions/%s/messages?after=%d&limit=%d", s.session(), after, historyLimit)
		_, err = l.call(ctx, http.MethodGet, path, "", nil, &page)
		return page, err
	}
}
