// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"strings"
	"sync"

	"github.com/blufio/blufio/bus"
)

// maxUnsent bounds the partial text that waits for a slow client. What is
// beyond comes with the reply.
const maxUnsent = 64 << 10

// betweenRounds stands between what the agent said before it used tools and
// what it said after.
const betweenRounds = "\n\n"

// draft puts partial text together for a wire on which nothing can be taken back.
//
// Only the pieces of one model call that came without a gap are text. When a call
// ended in tools and the turn goes on with another, what was said is kept as it
// is, a blank line follows, and then the text of the next. When the attempt grows
// (the turn begins anew, or a model broke off and another one begins), or a piece
// was lost before the call ended, what was sent can be half a sentence, and no
// more of the turn is sent: finish decides.
//
// It keeps what is not sent yet, and of the text sent only its hash, to compare
// the reply with.
type draft struct {
	ready chan struct{} // gets an element when there is text to take

	mu       sync.Mutex
	attempt  int
	round    int
	next     int  // number of the next piece
	lost     bool // a piece of this call is missing: the rest of it is not shown
	broken   bool // what was sent is not what the turn says now
	sent     bool // anything at all
	unsent   strings.Builder
	length   int       // bytes of this call's text in sum, sent or not
	sum      hash.Hash // of this call's text
	followed bool      // this draft has seen a piece
}

func newDraft() *draft { return &draft{ready: make(chan struct{}, 1), sum: sha256.New()} }

// hear takes one piece.
func (d *draft) hear(p bus.Delta) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.followed || p.Attempt != d.attempt || p.Round != d.round {
		if d.followed && (p.Attempt < d.attempt || p.Attempt == d.attempt && p.Round < d.round) {
			return // late
		}
		d.turnTo(p.Attempt, p.Round)
	}
	switch {
	case d.broken || d.lost || p.N < d.next:
		return
	case p.N > d.next || d.unsent.Len()+len(p.Text) > maxUnsent:
		d.lost = true
		return
	}
	d.next++
	d.append(p.Text)
}

// turnTo begins the text of another model call.
func (d *draft) turnTo(attempt, round int) {
	half := d.followed && attempt != d.attempt || d.lost && d.length > 0
	switch {
	case half && d.sent:
		d.broken = true
	case half:
		d.unsent.Reset() // nobody has seen it
	case d.length > 0 && !d.broken:
		d.unsent.WriteString(betweenRounds)
		d.signal()
	}
	d.followed, d.attempt, d.round, d.next, d.lost = true, attempt, round, 0, false
	if !d.broken {
		d.length = 0
		d.sum.Reset()
	}
}

func (d *draft) append(text string) {
	d.unsent.WriteString(text)
	d.length += len(text)
	d.sum.Write([]byte(text)) // a hash does not fail
	d.signal()
}

func (d *draft) signal() {
	select {
	case d.ready <- struct{}{}:
	default: // it has not been looked at since the last one
	}
}

// take returns the text to send now, which counts as sent.
func (d *draft) take() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := d.unsent.String()
	d.unsent.Reset()
	d.sent = d.sent || text != ""
	return text
}

// finish returns what is still to be sent of the reply. It reports false when
// what was sent does not lead to it.
func (d *draft) finish(reply string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	unsent := d.unsent.String()
	d.unsent.Reset()
	if !d.sent {
		return reply, true
	}
	if d.length > len(reply) {
		return "", false
	}
	sum := sha256.Sum256([]byte(reply[:d.length]))
	if !bytes.Equal(sum[:], d.sum.Sum(nil)) {
		return "", false
	}
	return unsent + reply[d.length:], true
}
