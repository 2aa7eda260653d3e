// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"sync"

	"github.com/blufio/blufio/bus"
)

// waiters are the requests that wait for replies, by message id.
type waiters struct {
	limit int

	mu    sync.Mutex
	count int
	byID  map[string][]*waiter
}

// waiter gets one reply at most.
type waiter struct {
	id    string
	reply chan bus.Reply
}

func newWaiters(limit int) *waiters {
	return &waiters{limit: limit, byID: map[string][]*waiter{}}
}

// register begins to wait for the reply to message id. It reports false when
// too many wait already. Who registers leaves.
func (ws *waiters) register(id string) (*waiter, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.count >= ws.limit {
		return nil, false
	}
	ws.count++
	w := &waiter{id: id, reply: make(chan bus.Reply, 1)}
	ws.byID[id] = append(ws.byID[id], w)
	return w, true
}

func (ws *waiters) leave(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.count--
	var rest []*waiter
	for _, other := range ws.byID[w.id] {
		if other != w {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		delete(ws.byID, w.id)
	} else {
		ws.byID[w.id] = rest
	}
}

// wake gives r to all who wait for it. It may come twice: the second finds the
// first still in the channel, or nobody.
func (ws *waiters) wake(r bus.Reply) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.byID[r.MessageID] {
		select {
		case w.reply <- r:
		default: // it has one
		}
	}
}

func (ws *waiters) len() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.count
}
