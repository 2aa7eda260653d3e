// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"
)

const (
	fewFailures  = 64                    // of all addresses together that cost those who fail nothing
	maxRemotes   = 1024                  // remote addresses remembered; the least recent is forgotten
	maxSlowed    = 32                    // answers delayed at once
	firstDelay   = 50 * time.Millisecond // of the second failure; the first one may be a slip
	forgiveAfter = time.Minute           // without a failure
)

// slowdown delays the answers to failures, each of one address twice as long
// as the one before. When many addresses fail, they are slowed together as if
// they were one: who has a network of them gains nothing.
type slowdown struct {
	most  time.Duration
	now   func() time.Time
	slots chan struct{}

	mu      sync.Mutex
	byAddr  map[netip.Prefix]*list.Element
	recency list.List // of *offender, latest in front
	crowd   offender  // all of them
}

type offender struct {
	addr     netip.Prefix
	failures int
	last     time.Time
}

func newSlowdown(most time.Duration, now func() time.Time) *slowdown {
	return &slowdown{most: most, now: now, slots: make(chan struct{}, maxSlowed), byAddr: map[netip.Prefix]*list.Element{}}
}

// wait counts a failure of addr and waits as long as that costs, or until the
// request or the gateway ends. It reports false, at once, when too many wait.
func (s *slowdown) wait(ctx context.Context, stop <-chan struct{}, addr netip.Prefix) bool {
	delay := s.fail(addr)
	if delay == 0 {
		return true
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return false
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-stop:
	}
	return true
}

// fail counts a failure and returns its price.
func (s *slowdown) fail(addr netip.Prefix) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	e := s.byAddr[addr]
	if e == nil {
		e = s.recency.PushFront(&offender{addr: addr})
		s.byAddr[addr] = e
		s.forget()
	}
	s.recency.MoveToFront(e)
	return max(s.price(e.Value.(*offender).fail(now)), s.price(s.crowd.fail(now)-fewFailures))
}

// fail counts a failure and returns how many there were.
func (o *offender) fail(now time.Time) int {
	if now.Sub(o.last) > forgiveAfter {
		o.failures = 0
	}
	o.failures++
	o.last = now
	return o.failures
}

// price is 0, 50 ms, 100 ms, 200 ms … for the first, second, … failure.
func (s *slowdown) price(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	return min(firstDelay<<min(failures-2, 20), s.most)
}

func (s *slowdown) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recency.Len()
}

func (s *slowdown) forget() {
	if s.recency.Len() > maxRemotes {
		oldest := s.recency.Remove(s.recency.Back()).(*offender)
		delete(s.byAddr, oldest.addr)
	}
}
