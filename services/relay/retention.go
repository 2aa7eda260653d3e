// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"sync/atomic"
	"time"
)

// pruneSoon is the pause while there is more to delete than one write should.
const pruneSoon = 50 * time.Millisecond

// note writes down how far the stream has come, so that the log can be pruned.
func (s *Service) note() {
	stream, seq, news := s.progress.note()
	if !news {
		return
	}
	done := func(err error) {
		if err != nil {
			s.progress.unnoted()
		}
	}
	if err := s.log.MarkRelayed(stream, seq, done); err != nil {
		done(err)
		s.slog.Warn("note relayed events", "service", "relay", "err", err)
	}
}

// age is called when bounds.keep has passed: what was stored when it began is
// now safe on disk.
func (s *Service) age() { s.safe, s.young = s.young, s.progress.stored() }

// prune deletes what need not be kept and returns when to come again.
func (s *Service) prune(ctx context.Context) time.Duration {
	most := s.bounds.maxRows
	if upTo := s.bulk.over(s.bounds.maxBytes); upTo > 0 {
		most = min(most, s.heard-upTo) // what came since heard makes it a few less
	}
	p, err := s.log.Prune(ctx, s.safe, s.heard, most, s.bounds.pruneRows)
	if err != nil {
		if ctx.Err() == nil {
			s.slog.Warn("prune event log", "service", "relay", "err", err)
		}
		return s.bounds.pruneEvery
	}
	s.bulk.drop(s.first.Add(p.Deleted))
	if p.Unrelayed > 0 {
		s.slog.Warn("events dropped from a full log before the stream stored them", "service", "relay", "events", p.Unrelayed)
		if s.progress.trouble() == nil {
			s.progress.fail(errDropped)
		}
	}
	if p.More {
		return pruneSoon
	}
	return s.bounds.pruneEvery
}

// markBytes is how exactly bulk knows where in the log what lies.
const markBytes = 1 << 20

// bulk is how many bytes of payload lie where in the log: so the oldest events can go that
// are too much of it, without the database adding up what it holds.
type bulk struct {
	marks []mark // oldest first
	bytes atomic.Int64
}

// mark is some events in a row, of markBytes or a little more; the newest has less.
type mark struct {
	last, bytes int64 // position of the newest; payloads together
}

func (b *bulk) add(seq int64, n int) {
	if len(b.marks) == 0 || b.marks[len(b.marks)-1].bytes >= markBytes {
		b.marks = append(b.marks, mark{})
	}
	m := &b.marks[len(b.marks)-1]
	m.last, m.bytes = seq, m.bytes+int64(n)
	b.bytes.Add(int64(n))
}

// drop forgets what lies before the position first.
func (b *bulk) drop(first int64) {
	for len(b.marks) > 0 && b.marks[0].last < first {
		b.bytes.Add(-b.marks[0].bytes)
		b.marks = b.marks[1:]
	}
}

// over returns the position up to which there is more than most; 0 when there is not.
func (b *bulk) over(most int64) (upTo int64) {
	left := b.bytes.Load()
	for _, m := range b.marks {
		if left <= most {
			break
		}
		upTo, left = m.last, left-m.bytes
	}
	return upTo
}
