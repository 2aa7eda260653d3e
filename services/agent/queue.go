// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"fmt"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

// sessionKey names a session: whose it is, on which channel, under which name.
type sessionKey struct{ channel, owner, name string }

// queue holds which sessions have messages to answer, in memory; the messages
// themselves are in the inbox. A session is absent (idle), waiting (in ready or
// admitted), or running. Every message in the queue was admitted first, so that
// both bounds hold however many come at once.
type queue struct {
	maxDepth, maxSessions int

	mu       sync.Mutex
	depth    int // admitted, queued or running
	sessions map[sessionKey]*session
	most     int        // sessions at one time since the table was made
	ready    []*session // waiting for a turn, longest first
	running  int
	wake     chan struct{}
}

// session is one with unanswered messages.
type session struct {
	key      sessionKey
	admitted int       // being written to the inbox
	pending  []waiting // to answer, in order
	running  bool
	notUntil time.Time // after a crash of its turn
}

// waiting is a message that is not answered.
type waiting struct {
	seq   int64
	since time.Time // it was accepted
}

func newQueue(maxDepth, maxSessions int) *queue {
	return &queue{maxDepth: maxDepth, maxSessions: maxSessions, sessions: map[sessionKey]*session{}, wake: make(chan struct{}, 1)}
}

// stopPlaces are kept for commands that make room: a full queue takes them still.
const stopPlaces = 64

// admit makes room for one message of a session, or says that there is none. over
// is how far beyond the bounds it may go.
func (q *queue) admit(key sessionKey, over int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.sessions[key]
	switch {
	case q.depth >= q.maxDepth+over:
		return busy(fmt.Sprintf("%d messages are waiting for an answer", q.depth), "agent.max_queue")
	case s == nil && len(q.sessions) >= q.maxSessions:
		return busy(fmt.Sprintf("%d sessions are waiting for an answer", len(q.sessions)), "agent.max_sessions")
	case s == nil:
		s = q.open(key)
	}
	s.admitted++
	q.depth++
	return nil
}

func (q *queue) open(key sessionKey) *session {
	s := &session{key: key}
	q.sessions[key] = s
	q.most = max(q.most, len(q.sessions))
	return s
}

func busy(what, key string) error {
	return &bus.Error{Code: bus.CodeBusy, Message: "busy: " + what, RetryAfter: 2 * time.Second,
		Hint: "try again in a moment; the bound is " + key}
}

// withdraw gives back an admission whose message was not stored.
func (q *queue) withdraw(key sessionKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.sessions[key]
	if s == nil {
		return // reset came between: the room begins anew
	}
	s.admitted--
	q.depth--
	q.forget(s)
}

// add queues an admitted message that is now stored. Calls come in the order of
// the inbox.
func (q *queue) add(key sessionKey, seq int64, since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.sessions[key]
	if s == nil {
		return // reset came between: the message is found in the inbox
	}
	s.admitted--
	s.pending = append(s.pending, waiting{seq, since})
	if len(s.pending) == 1 && !s.running {
		q.enqueue(s)
	}
}

// restore queues a message found in the inbox at the start, over any bound.
func (q *queue) restore(key sessionKey, seq int64, since time.Time) {
	q.mu.Lock()
	s := q.sessions[key]
	if s == nil {
		s = q.open(key)
	}
	s.admitted++
	q.depth++
	q.mu.Unlock()
	q.add(key, seq, since)
}

// reset empties the queue, before the inbox is read again.
func (q *queue) reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.depth, q.running, q.ready = 0, 0, nil
	clear(q.sessions)
}

func (q *queue) enqueue(s *session) {
	q.ready = append(q.ready, s)
	wake(q.wake)
}

// next takes the session that has waited longest and the message to answer.
// ok is false when none is ready; later says when one will be that is held back.
func (q *queue) next(now time.Time) (s *session, seq int64, later time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, s := range q.ready {
		if s.notUntil.After(now) {
			if later.IsZero() || s.notUntil.Before(later) {
				later = s.notUntil
			}
			continue
		}
		copy(q.ready[i:], q.ready[i+1:])
		q.ready[len(q.ready)-1] = nil
		q.ready = q.ready[:len(q.ready)-1]
		s.running = true
		q.running++
		return s, s.pending[0].seq, time.Time{}, true
	}
	return nil, 0, later, false
}

// done ends a turn: the session's next message may begin.
func (q *queue) done(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.running, s.notUntil = false, time.Time{}
	q.running--
	q.depth--
	s.pending = s.pending[1:]
	if len(s.pending) > 0 {
		q.enqueue(s)
	} else {
		s.pending = nil
	}
	q.forget(s)
}

// again puts a message back that its turn did not finish; not before t.
func (q *queue) again(s *session, t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.running, s.notUntil = false, t
	q.running--
	q.enqueue(s)
}

// park takes a running session out of the queue, with its message, until unpark.
func (q *queue) park(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.running = false
	q.running--
}

func (q *queue) unpark(s *session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.enqueue(s)
}

// forget drops a session that has become idle.
func (q *queue) forget(s *session) {
	if s.admitted == 0 && len(s.pending) == 0 && !s.running {
		delete(q.sessions, s.key)
	}
}

// counts returns the messages unanswered, the sessions they belong to, and the
// turns under way.
func (q *queue) counts() (depth, sessions, running int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.depth, len(q.sessions), q.running
}

// oldest is since when a message has waited longest; zero when none does.
func (q *queue) oldest() (t time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.sessions {
		if len(s.pending) > 0 {
			t = earlier(t, s.pending[0].since)
		}
	}
	return t
}

// state returns a session's state: idle, waiting or running.
func (q *queue) state(key sessionKey) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch s := q.sessions[key]; {
	case s == nil:
		return "idle"
	case s.running:
		return "running"
	}
	return "waiting"
}
