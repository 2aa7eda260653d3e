// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// command answers what begins with a slash and is meant for the agent itself. It
// needs no model and costs nothing, so it works when the budget is spent.
func (s *Service) command(ctx context.Context, t *turn) (outcome, bool) {
	if !isCommand(t.text) {
		return outcome{}, false
	}
	out := outcome{state: bus.StateAnswered}
	switch name := commandOf(t.text); name {
	case "help", "start":
		out.text = help
	case "think":
		out.text = "Write the question behind it, as in: /think why is the sky blue?"
	case "new":
		out.text = "A new conversation. I no longer look at what was said before; what you had me remember stays."
		out.write = func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`UPDATE session SET since = ? WHERE id = ?`, t.seq, t.session)
			return errors.Join(err, s.forget(tx, t.session))
		}
	case "stop": // what was under way was stopped when the command came in
		out.text = s.stopText(ctx, t)
	case "status":
		out.text = s.statusText(ctx)
	case "cost":
		out.text = s.costText(ctx)
	default:
		out.text = fmt.Sprintf("I do not know the command /%s.\n\n%s", shorten(name), help)
	}
	return out, true
}

// stopText tells what a /stop has stopped: messages before it that ended, or are
// about to, since it came in.
func (s *Service) stopText(ctx context.Context, t *turn) string {
	var n int
	err := s.store.QueryRow(ctx, `SELECT count(*) FROM message WHERE session_id = ? AND seq < ? AND error = ? AND finished_at >= ?`,
		t.session, t.seq, string(bus.CodeCanceled), t.received.UnixMilli()).Scan(&n)
	switch {
	case err != nil:
		return "Stopped."
	case n == 0:
		return "There was nothing to stop."
	case n == 1:
		return "Stopped: one message stays without an answer."
	}
	return fmt.Sprintf("Stopped: %d messages stay without an answer.", n)
}

// commandOf returns the name of the command that a text is, "" if it is none.
func commandOf(text string) string {
	if !isCommand(text) {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(strings.Fields(text)[0], "/"))
}

func isCommand(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), "/") }

const help = `/new     begin a new conversation
/stop    stop what you are working on
/think   before a question: it deserves the best model
/status  how I am doing
/cost    what was spent, and the budgets
/help    this list`

func (s *Service) statusText(ctx context.Context) string {
	st, err := bus.StatusGet.Ask(ctx, s.bus(), bus.StatusQuery{})
	if err != nil {
		return "I could not ask for my status: " + err.Error() + "."
	}
	lines := []string{fmt.Sprintf("%s, version %s, up %s", st.State, st.Version, (time.Duration(st.UptimeSeconds) * time.Second).String())}
	if st.Sessions != nil && st.Queues != nil {
		lines = append(lines, fmt.Sprintf("sessions: %d active of %d; messages under way: %d, replies: %d, dead letters: %d",
			st.Sessions.Active, st.Sessions.Total, st.Queues.Inbox, st.Queues.Outbox, st.Queues.Dead))
	}
	if st.Memory != nil {
		lines = append(lines, fmt.Sprintf("memory: %d %% taken, %d MiB resident, limit %d MiB", st.Memory.Used, st.Memory.RSS>>20, st.Memory.Limit>>20))
	}
	for _, sv := range st.Services {
		for _, p := range sv.Problems {
			lines = append(lines, fmt.Sprintf("%s: %s (%s)", sv.Name, p.Title, p.Hint))
		}
	}
	return strings.Join(lines, "\n")
}

func (s *Service) costText(ctx context.Context) string {
	c, err := bus.CostGet.Ask(ctx, s.bus(), bus.CostQuery{})
	if err != nil {
		return "I could not ask for the cost: " + err.Error() + "."
	}
	text := fmt.Sprintf("today: %s of %s\nthis month: %s of %s", c.Today, limit(c.DailyLimit), c.Month, limit(c.MonthlyLimit))
	if c.Stopped {
		text += "\nspending is stopped"
		if c.StoppedReason != "" {
			text += ": " + c.StoppedReason
		}
	}
	return text
}

func limit(m bus.MicroUSD) string {
	if m == 0 {
		return "no limit"
	}
	return m.String()
}

// shorten cuts what a person typed to what is worth repeating.
func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
