// SPDX-License-Identifier: MIT OR Apache-2.0

package relay

import (
	"errors"
	"sync"

	"github.com/blufio/blufio/bus/embedded"
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
	heard   int64          // position published
	bad     int64          // lowest position that may not be stored; 0: none
	refused int64          // lowest position that the stream said it did not store; 0: none
	noted   int64          // what the database was told last; -1: nothing
}

func (p *progress) init() {
	p.failed = make(chan struct{}, 1)
	p.flight = make(map[int64]bool)
}

// known is what the database says before the stream is asked.
func (p *progress) known(relayed, heard int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == 0 {
		p.highest = relayed
	}
	p.heard = heard
}

// begin starts counting anew: the stream holds everything up to seq.
func (p *progress) begin(stream string, seq int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run++
	p.err, p.stream, p.highest, p.bad, p.refused, p.noted = nil, stream, seq, 0, 0, -1
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
	if err != nil {
		p.bad = lower(p.bad, seq)
		if refusal(err) {
			p.refused = lower(p.refused, seq)
		}
	}
	p.mu.Unlock()
	if err != nil {
		p.fail(err)
	}
}

// refusal tells an answer of the stream from the lack of one, after which an
// event may be stored or not.
func refusal(err error) bool {
	return !errors.Is(err, embedded.ErrNoAck) && !errors.Is(err, embedded.ErrClosed) && !errors.Is(err, embedded.ErrWindowFull)
}

func lower(have, seq int64) int64 {
	if have == 0 {
		return seq
	}
	return min(have, seq)
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

func (p *progress) told(seq int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = seq
}

// since counts the events published from position first on.
func (p *progress) since(first int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.heard-first+1)
}

// behind counts the events that were published and are not stored.
func (p *progress) behind() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.heard-p.storedLocked())
}

// stored is the position up to which the stream holds everything.
func (p *progress) stored() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.storedLocked()
}

func (p *progress) storedLocked() int64 {
	seq := p.highest
	if p.bad > 0 {
		seq = min(seq, p.bad-1)
	}
	for s := range p.flight {
		seq = min(seq, s-1)
	}
	return seq
}

// note returns what the database is to be told, if it does not know yet.
func (p *progress) note() (stream string, seq int64, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seq = p.storedLocked()
	news = p.run > 0 && seq != p.noted
	p.noted = seq
	return p.stream, seq, news
}

// unnoted is called when the database could not be told.
func (p *progress) unnoted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noted = -1
}

// refusedIn returns the lowest position that the stream of that epoch refused;
// 0 when it refused none.
func (p *progress) refusedIn(stream string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stream != p.stream {
		return 0
	}
	return p.refused
}
