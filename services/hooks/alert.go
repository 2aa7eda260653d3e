// SPDX-License-Identifier: MIT OR Apache-2.0

package hooks

import (
	"strings"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

// between is the least time from one alert to the next of its name.
const between = time.Minute

// alert is what waits to be told: the latest event of a name, and how many there were.
type alert struct {
	name  string
	event []byte // JSON
	count int
}

// alerts gathers by name, so that a storm is one alert a minute. Names come from the
// contract, so there are few.
type alerts struct {
	mu      sync.Mutex
	waiting []*alert // in the order of their first event
	told    map[string]time.Time
	kick    chan struct{} // there is something new
}

func newAlerts() *alerts {
	return &alerts{told: map[string]time.Time{}, kick: make(chan struct{}, 1)}
}

// add never waits.
func (a *alerts) add(name string, event []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() {
		select {
		case a.kick <- struct{}{}:
		default:
		}
	}()
	for _, w := range a.waiting {
		if w.name == name {
			w.event, w.count = event, w.count+1
			return
		}
	}
	a.waiting = append(a.waiting, &alert{name, event, 1})
}

// next takes the first alert that may be told now; without one it says when to ask
// again, 0 when nothing waits.
func (a *alerts) next(now time.Time) (_ *alert, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, w := range a.waiting {
		left := between - now.Sub(a.told[w.name])
		if left <= 0 {
			a.waiting = append(a.waiting[:i:i], a.waiting[i+1:]...)
			a.told[w.name] = now
			return w, 0
		}
		if wait == 0 || left < wait {
			wait = left
		}
	}
	return nil, wait
}

// left is how many names wait.
func (a *alerts) left() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting)
}

// name is an event's without its area: "budget.exhausted".
func name(s *bus.Spec) string { return strings.TrimPrefix(s.Name, "evt.") }
