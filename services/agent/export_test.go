// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/tool"
)

// Hurry makes every pause d long, the longest between deliveries included.
func (s *Service) Hurry(d time.Duration) {
	s.pauses = pauses{turn: d, store: d, check: d, delivery: d, deliveryMost: 4 * d, settle: d, recall: d, heartbeat: d, extract: d, known: recallTimeout}
}

// Use adds a tool.
func (s *Service) Use(t tool.Tool) {
	s.tools[t.Spec().Name] = t
	s.specs = append(s.specs, t.Spec())
}

// Expire deletes what is old at the time now.
func (s *Service) Expire(ctx context.Context, now time.Time) error { return s.expire(ctx, now) }

// Remembered returns how many sessions the room holds in memory.
func (s *Service) Remembered() (waiting, undelivered int) {
	_, waiting, _ = s.queue.counts()
	for _, o := range s.outbox {
		o.mu.Lock()
		undelivered += len(o.sessions)
		o.mu.Unlock()
	}
	return waiting, undelivered
}

// QueueEntry is about what a session takes in the queue.
const QueueEntry = queueEntry

// RetentionRows is the bound of one deleting transaction.
const RetentionRows = retentionRows

// HurryDelivery sets the first pause between deliveries.
func (s *Service) HurryDelivery(d time.Duration) { s.pauses.delivery, s.pauses.deliveryMost = d, 100*d }

// Unhurried sets every pause to what it is for people.
func (s *Service) Unhurried() { s.pauses = defaultPauses() }

// LookAtOutbox does what the room does now and then, and returns how many
// sessions with undelivered replies are not held back.
func (s *Service) LookAtOutbox() (free int) {
	for _, o := range s.outbox {
		o.due(s.now())
		o.mu.Lock()
		for _, u := range o.sessions {
			if u.notBefore.IsZero() {
				free++
			}
		}
		o.mu.Unlock()
	}
	return free
}

// StartStatements are what the room reads and writes of the inbox at its start.
func StartStatements() []string { return []string{selectRunning, requeueRunning, selectQueued} }

// RetentionStatements are what the room looks for hour by hour, and deletes when it is old.
func RetentionStatements() (all []string) {
	for _, e := range (&Service{}).expiries(time.Time{}) {
		all = append(all, e.sql)
		if e.dead != "" {
			all = append(all, e.dead)
		}
	}
	return append(all, oldAttachments)
}

// StatusStatement is what the room reads of the database each second.
const StatusStatement = standing

// Spent is what the ledger last said of the tighter budget.
func (s *Service) Spent(percent int) { s.spent.note(percent, s.now()) }

// SpentPercent is what is remembered of it.
func (s *Service) SpentPercent() int {
	percent, _ := s.spent.read(s.now())
	return percent
}

// Held is how many bytes of pictures and of material turns hold.
func (s *Service) Held() (pictures, material int) {
	return s.pictureStock.held(), s.materialStock.held()
}

// FillSummaries puts so many summaries of a size into a table like the room's, and
// returns what it takes at most, and how many are there in the end.
func FillSummaries(n, size int) (most int64, entries int) {
	c := summaries{most: SummaryBytes}
	for i := range n {
		c.put(int64(i), summary{to: 1, text: strings.Repeat("x", size)})
		most = max(most, c.size())
	}
	return most, len(c.entries)
}

// Compacting is how many conversations are being summarised, or wait for it.
func (s *Service) Compacting() int {
	s.compactor.mu.Lock()
	defer s.compactor.mu.Unlock()
	return len(s.compactor.open)
}

// Grown has the room look, behind a turn each, at so many conversations that have grown
// enough to be summarised.
func (s *Service) Grown(n int) {
	for i := range n {
		s.consider(&turn{session: int64(i + 1), past: 1 << 20}, outcome{state: bus.StateAnswered})
	}
}

// Postpone lets so many conversations be, each after two failures.
func (s *Service) Postpone(n int) {
	for i := range 2 * n {
		s.compactor.postpone(int64(i/2), 1000, 1000)
	}
}

// RecallWithin is how long a turn waits for what is known of its person.
func (s *Service) RecallWithin(d time.Duration) { s.pauses.known = d }

// MemoryIsShort reports whether the room has heard so.
func (s *Service) MemoryIsShort() bool { return s.pressure.short() }
