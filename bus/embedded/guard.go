// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// What a call across accounts costs while its answer is awaited is some 400 bytes, and
// the server forgets an answer that does not come only after two to four minutes. A
// client that asks as fast as it can would fill the memory of a small machine before.
const (
	guardEvery = 250 * time.Millisecond
	maxAwaited = 16384           // answers that all keys may be waiting for
	floodCount = 1000            // messages of one key between two looks that make it the cause
	floodPause = 4 * time.Minute // for which it is shut out: then the server has forgotten
)

// guard looks after the keys until stop is closed.
func (s *Server) guard(stop <-chan struct{}) {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	var last map[string]int64
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			last = s.lookForFloods(last)
		}
	}
}

// lookForFloods shuts those out who ask much more than is answered. Between two looks
// it hands on how many messages came from each key; nil when there is no need to know.
func (s *Server) lookForFloods(last map[string]int64) map[string]int64 {
	awaited := s.awaited()
	if awaited < maxAwaited/4 {
		return nil
	}
	now, err := s.ring.messages()
	if err != nil {
		s.log.log.Error("floods of questions cannot be found", "err", err)
		return nil
	}
	if awaited < maxAwaited || last == nil {
		return now
	}
	for public, n := range now {
		if before, ok := last[public]; ok && n-before >= floodCount {
			s.log.refused(Denial{Reason: DeniedLimit, Key: public})
			s.log.log.Warn("a key asks faster than it can be answered and is shut out for a while",
				"key", public, "name", s.NameOf(public), "awaited", awaited, "pause", floodPause.String())
			if err := s.ring.pause(public, floodPause); err != nil {
				s.log.log.Error("a key that floods cannot be shut out", "err", err)
			}
		}
	}
	return now
}

// awaited is how many answers to keys the server waits for.
func (s *Server) awaited() (n int) {
	for _, a := range []*server.Account{s.accounts.house, s.accounts.watch, s.accounts.edge} {
		n += a.NumPendingAllResponses()
	}
	return n
}

// messages are how many came so far with each key that has an account of its own. The
// account's count goes on from holder to holder, and over connections that are gone: a
// client might make a new one for every few questions.
func (r *keyring) messages() (map[string]int64, error) {
	all, err := r.ns.AccountStatz(&server.AccountStatzOptions{IncludeUnused: true})
	if err != nil {
		return nil, err
	}
	received := make(map[string]int64, len(all.Accounts))
	for _, a := range all.Accounts {
		received[a.Account] = a.Received.Msgs
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	sum := map[string]int64{}
	for public, h := range r.holders {
		if h.slot != nil {
			sum[public] = received[h.slot.account.GetName()]
		}
	}
	return sum, nil
}

// pause ends the connections of a key and lets it in again after a while.
func (r *keyring) pause(public string, d time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.holders[public]
	if h == nil {
		return nil // it has just gone
	}
	h.until = r.now().Add(d)
	return r.disconnect(h, public)
}
