// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/blufio/blufio/bus"
)

// Letters in a page's order: all messages, then all replies. A cursor is the kind
// of the last one and its row, as "m42" or "r7".
const (
	messageCursor = 'm'
	replyCursor   = 'r'
)

// The rows come from the partial indices of what is open and what is dead: the
// history, which is most of the table, is not read.
const (
	openMessages = `SELECT seq FROM message WHERE state IN ('queued', 'running') AND (?1 = '' OR state = ?1) AND seq > ?2`
	deadMessages = `SELECT seq FROM message WHERE state = 'dead' AND seq > ?2`

	selectLetter = `SELECT m.seq, m.id, s.channel, s.owner, s.name, m.state, m.received_at, m.attempts, m.error,
		octet_length(m.text), CASE WHEN ?4 THEN m.text ELSE '' END FROM message m JOIN session s ON s.id = m.session_id
		WHERE m.seq IN (%s ORDER BY seq LIMIT ?3) ORDER BY m.seq`
	selectReply = `SELECT o.id, m.id, s.channel, s.owner, s.name, o.state, o.created_at, o.attempts, o.error,
		octet_length(m.reply), CASE WHEN ?4 THEN m.reply ELSE '' END FROM outbox o JOIN message m ON m.seq = o.seq
		JOIN session s ON s.id = o.session_id WHERE (?1 = '' OR o.state = ?1) AND o.id > ?2 ORDER BY o.id LIMIT ?3`
)

// letters answers with a page of what waits, runs or is dead.
func (s *Service) letters(ctx context.Context, q bus.QueueQuery) (bus.QueuePage, error) {
	p := page{q: q, limit: pageSize(q.Limit), out: bus.QueuePage{Letters: []bus.Letter{}}}
	kind, row, ok := parseCursor(q.After)
	states := []string{"", bus.StateQueued, bus.StateRunning, bus.StatePending, bus.StateDead}
	switch {
	case !ok:
		return p.out, bus.Errorf(bus.CodeInvalid, "%.40q is not where a page ended", q.After)
	case !slices.Contains(states, q.State):
		return p.out, bus.Errorf(bus.CodeInvalid, "there is no state %.40q", q.State).WithHint("there are queued, running, pending and dead")
	}
	if kind == messageCursor {
		if err := s.readLetters(ctx, &p, messageCursor, messagesIn(q.State), row); err != nil || p.full() {
			return p.out, err
		}
		row = 0
	}
	if q.State == bus.StateQueued || q.State == bus.StateRunning {
		return p.out, nil
	}
	return p.out, s.readLetters(ctx, &p, replyCursor, selectReply, row)
}

// messagesIn is the query for messages in a state; "" for one that only replies
// have.
func messagesIn(state string) string {
	switch state {
	case "":
		return fmt.Sprintf(selectLetter, openMessages+" UNION ALL "+deadMessages)
	case bus.StateDead:
		return fmt.Sprintf(selectLetter, deadMessages)
	case bus.StatePending:
		return ""
	}
	return fmt.Sprintf(selectLetter, openMessages)
}

// page collects letters up to the bounds of one answer.
type page struct {
	q     bus.QueueQuery
	limit int
	bytes int
	out   bus.QueuePage
}

func (p *page) full() bool { return p.out.Next != "" }

// take adds a letter, unless it is one too many.
func (p *page) take(l bus.Letter) bool {
	p.bytes += jsonSize(l.Text) + jsonSize(l.Error) + 1024
	if len(p.out.Letters) == p.limit || len(p.out.Letters) > 0 && p.bytes > maxPageBytes {
		return false
	}
	p.out.Letters = append(p.out.Letters, l)
	return true
}

// readLetters adds what a query finds behind row.
func (s *Service) readLetters(ctx context.Context, p *page, kind byte, query string, row int64) error {
	if query == "" {
		return nil
	}
	rows, err := s.store.Query(ctx, query, p.q.State, row, p.limit-len(p.out.Letters)+1, p.q.Text)
	if err != nil {
		return fmt.Errorf("list letters: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		l := bus.Letter{Kind: bus.LetterMessage}
		if kind == replyCursor {
			l.Kind = bus.LetterReply
		}
		var since, at int64
		if err := rows.Scan(&at, &l.ID, &l.Channel, &l.Owner, &l.Session, &l.State, &since, &l.Attempts, &l.Error, &l.Bytes, &l.Text); err != nil {
			return fmt.Errorf("list letters: %w", err)
		}
		l.Since = time.UnixMilli(since).UTC()
		if !p.take(l) {
			p.out.Next = string(kind) + strconv.FormatInt(row, 10)
			return nil
		}
		row = at
	}
	return rows.Err()
}

func parseCursor(text string) (kind byte, row int64, ok bool) {
	if text == "" {
		return messageCursor, 0, true
	}
	row, err := strconv.ParseInt(text[1:], 10, 64)
	return text[0], row, err == nil && row >= 0 && (text[0] == messageCursor || text[0] == replyCursor)
}
