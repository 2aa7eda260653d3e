// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errNotOpen is the state before the first opening; it is no trouble to tell of.
var errNotOpen = errors.New("not open yet")

// progress keeps count of the events on their way into the stream. Answers come
// on other goroutines; those to events sent before the last begin are ignored.
type progress struct {
	failed chan struct{} // gets an element when trouble begins

	mu      sync.Mutex
	err     error // why events are not being stored; nil: they are
	run     int   // counts begins
	stream  string
	flight  map[int64]bool // sent, not answered; at most the stream's window
	highest int64          // position sent
	bad     int64          // lowest position that was refused; 0: none
	noted   int64          // what stored said last
	idle    chan struct{}  // closed when flight is empty; nil: nobody waits
}

func (p *progress) init() {
	p.failed = make(chan struct{}, 1)
	p.flight = make(map[int64]bool)
}

// begin starts counting anew: the stream holds everything up to seq.
func (p *progress) begin(stream string, seq int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run++
	p.err, p.stream, p.highest, p.bad, p.noted = nil, stream, seq, 0, 0
	clear(p.flight)
}

// sent counts seq as on its way and returns what to call with its answer.
func (p *progress) sent(seq int64) func(error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	run := p.run
	p.flight[seq] = true
	p.highest = max(p.highest, seq)
	return func(err error) { p.answered(run, seq, err) }
}

func (p *progress) answered(run int, seq int64, err error) {
	p.mu.Lock()
	if run != p.run {
		p.mu.Unlock()
		return
	}
	delete(p.flight, seq)
	if len(p.flight) == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
	if err != nil && (p.bad == 0 || seq < p.bad) {
		p.bad = seq
	}
	p.mu.Unlock()
	if err != nil {
		p.fail(err)
	}
}

// fail notes that events are not being stored.
func (p *progress) fail(err error) {
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	select {
	case p.failed <- struct{}{}:
	default: // Run has not yet seen the last one
	}
}

func (p *progress) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *progress) inFlight() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.flight)
}

// stored returns the position up to which the stream holds everything, and
// whether that moved since it was asked last.
func (p *progress) stored() (stream string, seq int64, moved bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seq = p.highest
	if p.bad > 0 {
		seq = min(seq, p.bad-1)
	}
	for s := range p.flight {
		seq = min(seq, s-1)
	}
	moved = p.run > 0 && seq != p.noted
	p.noted = seq
	return p.stream, seq, moved
}

// settled waits until every event sent is answered, at most limit.
func (p *progress) settled(ctx context.Context, limit time.Duration) {
	p.mu.Lock()
	if len(p.flight) == 0 {
		p.mu.Unlock()
		return
	}
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	idle := p.idle
	p.mu.Unlock()
	timeout := time.NewTimer(limit) // every answer comes or times out before
	defer timeout.Stop()
	select {
	case <-idle:
	case <-timeout.C:
	case <-ctx.Done():
	}
}
