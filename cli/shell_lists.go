// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	historyDefault = 10  // messages that /history shows without a number
	historyMost    = 500 // and with one
	historyPage    = 500 // messages asked for at a time
)

// historyCount reads the argument of /history.
func historyCount(argument string) (int, error) {
	if argument == "" {
		return historyDefault, nil
	}
	n, err := strconv.Atoi(argument)
	if err != nil || n < 1 || n > historyMost {
		return 0, fail(exitUsage, "", "/history takes a number from 1 to %d", historyMost)
	}
	return n, nil
}

// lastMessages returns the newest n messages of a session, oldest first. The agent
// gives pages from the beginning, so all are read and the last ones kept.
func lastMessages(ctx context.Context, session string, n int, ask func(context.Context, bus.HistoryQuery) (bus.History, error)) ([]bus.MessageRecord, error) {
	var last []bus.MessageRecord
	q := bus.HistoryQuery{Channel: terminalChannel, Owner: terminalOwner, Session: session, Limit: historyPage}
	for {
		page, err := ask(ctx, q)
		if e := (*bus.Error)(nil); errors.As(err, &e) && e.Code == bus.CodeNotFound {
			return last, nil // nothing was said in it yet
		}
		if err != nil {
			return nil, err
		}
		last = append(last, page.Messages...)
		last = append([]bus.MessageRecord(nil), last[max(0, len(last)-n):]...)
		if !page.More || len(page.Messages) == 0 {
			return last, nil
		}
		q.After = page.Messages[len(page.Messages)-1].Seq
	}
}

// historyText shows messages with their replies.
func historyText(u ui, messages []bus.MessageRecord, now time.Time) string {
	if len(messages) == 0 {
		return "nothing was said yet\n"
	}
	var b strings.Builder
	for i, m := range messages {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s %s\n", u.bold(strings.TrimSpace(clean(m.Text))), u.dim("("+ago(&m.ReceivedAt, now)+")"))
		switch {
		case m.State == bus.StateAnswered:
			b.WriteString(strings.TrimSpace(clean(m.Reply)) + "\n")
		case finished(m.State):
			b.WriteString(failedText(u, m) + "\n")
		default:
			b.WriteString(u.dim("("+line(m.State)+")") + "\n")
		}
	}
	return b.String()
}

// sessionsText shows conversations as a table, newest first.
func sessionsText(u ui, sessions []bus.Session, current string, now time.Time) string {
	if len(sessions) == 0 {
		return "there are no sessions yet\n"
	}
	var rows [][]string
	for _, e := range sessions {
		mark := " "
		if e.Name == current {
			mark = u.mark(u.green("›"), ">")
		}
		rows = append(rows, []string{mark, line(e.Name), plural(e.Messages, "message"), ago(&e.LastAt, now), u.dim(line(e.State))})
	}
	return table(rows, 2)
}

// textLines is clean text, line by line.
func textLines(s string) []string {
	return strings.Split(strings.TrimSpace(clean(s)), "\n")
}
