// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Schema are the room's tables.
var Schema = sqlite.Schema{Room: "telegram", Steps: []string{`
-- What was sent for each reply, part by part.
CREATE TABLE telegram_sent (
	key        TEXT NOT NULL,    -- of the reply; of its draft: the message's id
	part       INTEGER NOT NULL, -- from 0
	message_id INTEGER NOT NULL, -- Telegram's
	final      INTEGER NOT NULL, -- 0 while the answer is being made
	at         INTEGER NOT NULL, -- Unix milliseconds
	PRIMARY KEY (key, part)
) WITHOUT ROWID;
CREATE INDEX telegram_sent_at ON telegram_sent (at);
-- Groups that became supergroups and have another id since.
CREATE TABLE telegram_moved (
	old INTEGER PRIMARY KEY,
	new INTEGER NOT NULL
);
`, `
-- Which bot it was, and which was the first: ids of messages mean nothing without.
CREATE TABLE telegram_bot (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	first   INTEGER NOT NULL,
	current INTEGER NOT NULL
);
`}}

// keepSent is longer than a reply is tried (agent.reply_expires).
const keepSent = 91 * 24 * time.Hour

// sentPart is one message that was sent for a reply.
type sentPart struct {
	id    int64
	final bool
}

// sent reads what was sent for a reply.
func (s *Service) sent(ctx context.Context, key string) (map[int]sentPart, error) {
	rows, err := s.store.Query(ctx, `SELECT part, message_id, final FROM telegram_sent WHERE key = ?`, key)
	if err != nil {
		return nil, fmt.Errorf("read what was sent: %w", err)
	}
	defer rows.Close()
	out := map[int]sentPart{}
	for rows.Next() {
		var n int
		var p sentPart
		if err := rows.Scan(&n, &p.id, &p.final); err != nil {
			return nil, fmt.Errorf("read what was sent: %w", err)
		}
		out[n] = p
	}
	return out, rows.Err()
}

// adopt gives a draft to the reply of a message that is answered anew, whose key is
// not the message's id. Beside an earlier reply there is none of its own.
func (s *Service) adopt(ctx context.Context, r bus.Reply) error {
	if r.Key == r.MessageID {
		return nil
	}
	return s.store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`UPDATE OR IGNORE telegram_sent SET key = ?1 WHERE key = ?2 AND NOT final
			AND NOT EXISTS (SELECT 1 FROM telegram_sent WHERE key = ?2 AND final)`, r.Key, r.MessageID)
		return err
	})
}

// partKey names a part of a reply.
type partKey struct {
	key  string
	part int
}

// record notes a part that Telegram has accepted. It does not give up while there
// is time, and then remembers it: what is not noted would be sent again.
func (s *Service) record(ctx context.Context, key string, part int, p sentPart) error {
	failpoint.Hit("telegram.part-sent")
	for {
		err := s.note(ctx, partKey{key, part}, p)
		if err == nil {
			failpoint.Hit("telegram.part-noted")
			return nil
		}
		s.log.Error("sent message not noted, trying again", "err", err)
		if !sleep(ctx, s.pauses.first) {
			s.mu.Lock()
			s.unnoted[partKey{key, part}] = p
			s.mu.Unlock()
			return fmt.Errorf("note what was sent: %w", err)
		}
	}
}

// note writes what was sent; a stop does not cut it off.
func (s *Service) note(ctx context.Context, k partKey, p sentPart) error {
	return s.store.Write(context.WithoutCancel(ctx), func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`INSERT INTO telegram_sent (key, part, message_id, final, at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (key, part) DO UPDATE SET message_id = excluded.message_id, final = excluded.final`, k.key, k.part, p.id, p.final, s.now())
		return err
	})
}

// catchUp notes what could not be noted before. While that fails nothing else is
// sent, so that no more is remembered than was under way.
func (s *Service) catchUp(ctx context.Context) error {
	s.mu.Lock()
	left := maps.Clone(s.unnoted)
	s.mu.Unlock()
	for k, p := range left {
		if err := s.note(ctx, k, p); err != nil {
			return fmt.Errorf("note what was sent: %w", err)
		}
		s.mu.Lock()
		if s.unnoted[k] == p {
			delete(s.unnoted, k)
		}
		s.mu.Unlock()
	}
	return nil
}

func (s *Service) forget(ctx context.Context, key string, part int) error {
	return s.store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`DELETE FROM telegram_sent WHERE key = ? AND part = ?`, key, part)
		return err
	})
}

func (s *Service) expireSent(ctx context.Context, before time.Time) error {
	return s.store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`DELETE FROM telegram_sent WHERE at < ?`, before)
		return err
	})
}

// moved knows the groups that have another id since they became supergroups. Their
// sessions stay what they were.
type moved struct {
	mu       sync.Mutex
	to, from map[int64]int64
}

// maxMoved bounds the groups; one beyond gets a new session with its new id.
const maxMoved = 1000

func (m *moved) load(ctx context.Context, store *sqlite.Store) error {
	rows, err := store.Query(ctx, `SELECT old, new FROM telegram_moved LIMIT ?`, maxMoved)
	if err != nil {
		return err
	}
	defer rows.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.to, m.from = map[int64]int64{}, map[int64]int64{}
	for rows.Next() {
		var old, now int64
		if err := rows.Scan(&old, &now); err != nil {
			return err
		}
		m.to[old], m.from[now] = now, old
	}
	return rows.Err()
}

// formerly is the id that a chat had before, or 0.
func (m *moved) formerly(chat int64) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.from[chat]
}

func (m *moved) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.to)
}

func (m *moved) set(old, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.to[old], m.from[now] = now, old
}

// owner is whose sessions a chat's are.
func (m *moved) owner(chat int64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.from[chat]; ok {
		chat = old
	}
	return strconv.FormatInt(chat, 10)
}

// place is where a reply goes.
func (m *moved) place(owner, session string) (place, error) {
	id, err := strconv.ParseInt(owner, 10, 64)
	if err != nil {
		return place{}, fmt.Errorf("%q is not a chat's id", owner)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, ok := m.to[id]; ok {
		id = now
	}
	p := place{Chat: id}
	if topic, ok := strings.CutPrefix(session, topicSession); ok {
		p.Thread, _ = strconv.ParseInt(topic, 10, 64) // another session's name has none
	}
	return p, nil
}

// move notes that a group has another id.
func (s *Service) move(ctx context.Context, old, now int64) error {
	if s.moved.formerly(now) == old {
		return nil
	}
	if s.moved.size() >= maxMoved {
		s.log.Warn("a group's new id is not noted: there are too many", "old", old, "new", now, "bound", maxMoved)
		return nil
	}
	err := s.store.Write(ctx, func(tx *sqlite.Tx) error {
		_, err := tx.Exec(`INSERT INTO telegram_moved (old, new) VALUES (?, ?) ON CONFLICT (old) DO UPDATE SET new = excluded.new`, old, now)
		return err
	})
	if err != nil {
		return fmt.Errorf("note a group's new id: %w", err)
	}
	s.moved.set(old, now)
	return nil
}

// learn notes a group's new id that sending has told of. The next time tells it
// again.
func (s *Service) learn(ctx context.Context, old, now int64) {
	if old == now {
		return
	}
	if err := s.move(ctx, old, now); err != nil {
		s.log.Warn("a group's new id is not known from now on", "err", err)
	}
}
