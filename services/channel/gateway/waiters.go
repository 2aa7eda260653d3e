// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"slices"
	"sync"

	"github.com/blufio/blufio/bus"
)

// maxEarly bounds the partial text that is kept for a message whose id the agent
// has not told yet. Pieces beyond are lost, as partial text may be.
const maxEarly = 64

// waiters are the requests that wait for replies, by message id.
type waiters struct {
	limit int

	mu      sync.Mutex
	count   int
	byID    map[string][]*waiter
	unnamed map[*waiter]struct{} // reserved, without an id yet
}

// waiter gets one reply at most.
type waiter struct {
	id    string
	reply chan bus.Reply

	owner string          // of the message, while it has no id
	hear  func(bus.Delta) // gets the message's partial text; nil: not wanted
	early []bus.Delta     // partial text of this owner, while there is no id
}

func newWaiters(limit int) *waiters {
	return &waiters{limit: limit, byID: map[string][]*waiter{}, unnamed: map[*waiter]struct{}{}}
}

// register begins to wait for the reply to message id. It reports false when
// too many wait already. Who registers leaves.
func (ws *waiters) register(id string) (*waiter, bool) {
	w, ok := ws.reserve("", nil)
	if ok {
		ws.name(w, id)
	}
	return w, ok
}

// reserve makes room to wait for a message of owner that is about to be handed
// over, so that neither the room nor the first words are missing when its id is
// known. hear is called with the pieces, one after another; it must be quick and
// may not call back. Who reserves names, or leaves, or both.
func (ws *waiters) reserve(owner string, hear func(bus.Delta)) (*waiter, bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.count >= ws.limit {
		return nil, false
	}
	ws.count++
	w := &waiter{reply: make(chan bus.Reply, 1), owner: owner, hear: hear}
	ws.unnamed[w] = struct{}{}
	return w, true
}

// name says which message w waits for. A reply may have come before: ask.
func (ws *waiters) name(w *waiter, id string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.unnamed, w)
	w.id = id
	ws.byID[id] = append(ws.byID[id], w)
	for _, d := range w.early {
		if d.MessageID == id {
			w.hear(d)
		}
	}
	w.early = nil
}

func (ws *waiters) leave(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.count--
	delete(ws.unnamed, w)
	rest := slices.DeleteFunc(ws.byID[w.id], func(other *waiter) bool { return other == w })
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

// partial gives d to all who want to hear it.
func (ws *waiters) partial(d bus.Delta) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.byID[d.MessageID] {
		if w.hear != nil {
			w.hear(d)
		}
	}
	for w := range ws.unnamed {
		if w.hear != nil && w.owner == d.Owner && len(w.early) < maxEarly {
			w.early = append(w.early, d)
		}
	}
}

func (ws *waiters) len() int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.count
}
