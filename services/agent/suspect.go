// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"errors"
	"sync"
)

// suspects are messages that crashes have cut off so often that one more makes
// them dead letters. A crash cuts off all turns under way, and only one of them
// can be its cause; so the last attempts are made one at a time, and who waits
// for that has not begun.
type suspects struct {
	mu      sync.Mutex
	busy    bool
	waiting []*session // at most as many as the queue holds
}

// errSuspect ends a turn that has not begun: another one makes its last attempt.
var errSuspect = errors.New("another suspect is at work")

// enter lets one in at a time. Whoever is let in leaves.
func (u *suspects) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.busy {
		return false
	}
	u.busy = true
	return true
}

// leave lets the next one in, by way of its turn.
func (u *suspects) leave(q *queue) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.busy = false
	if len(u.waiting) > 0 {
		q.unpark(u.waiting[0])
		u.waiting = u.waiting[1:]
	}
}

// await parks a session that was not let in.
func (u *suspects) await(q *queue, s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	q.park(s)
	if !u.busy { // it has left meanwhile
		q.unpark(s)
		return
	}
	u.waiting = append(u.waiting, s)
}

// reset forgets who waits, before the inbox is read again.
func (u *suspects) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.busy, u.waiting = false, nil
}
