// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/failpoint"
)

// Text is said in pieces of at least this much or this age, whichever is first:
// models send single words, and each would be a message.
const (
	partialBytes = 256
	partialEvery = 40 * time.Millisecond
)

// partial says the text of one model call while it arrives. It is used from one
// goroutine. What cannot be said is left out: the reply will have it all.
type partial struct {
	s      *Service
	delta  bus.Delta
	event  bus.Event[bus.Delta]
	text   strings.Builder
	last   time.Time
	heard  bool // the model said something
	silent bool // nothing is published
}

// attemptStride keeps the attempts of Delta growing from one attempt of a turn to
// the next, without a note of how often text began anew in the one before: that
// is bounded by its model calls, well below this.
const attemptStride = 10_000

func (s *Service) newPartial(t *turn, round int) *partial {
	return &partial{s: s, event: bus.MessageDelta.To(t.key.channel),
		delta: bus.Delta{MessageID: t.id, Owner: t.key.owner, Session: t.key.name, Attempt: (t.attempt-1)*attemptStride + 1 + t.anew, Round: round}}
}

func (p *partial) add(text string) {
	failpoint.Hit("model.delta")
	p.heard = p.heard || text != ""
	p.text.WriteString(text)
	if p.text.Len() >= partialBytes || p.s.now().Sub(p.last) >= partialEvery {
		p.flush()
	}
}

// said reports whether listeners have some of the text.
func (p *partial) said() bool { return p.delta.N > 0 }

func (p *partial) flush() {
	if p.text.Len() == 0 || p.silent {
		p.text.Reset()
		return
	}
	p.delta.Text = p.text.String()
	if err := p.event.Publish(p.s.bus(), p.delta); err != nil {
		p.s.log.Debug("partial text not said", "service", "agent", "trace", p.delta.MessageID, "err", err)
	}
	p.delta.N++
	p.text.Reset()
	p.last = p.s.now()
}
