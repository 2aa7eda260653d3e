// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

// breaker keeps turns from waiting for a provider that does not answer. After
// limit failures in a row it is open: nobody asks for the length of a pause. Then
// one call may try; it closes the breaker, or opens it for another pause. A nil one is
// of [withoutModel], which is in this process: it lets everybody pass, and counts nothing.
type breaker struct {
	limit int
	pause time.Duration
	now   func() time.Time

	mu     sync.Mutex
	out    outage
	trying bool  // a call tries whether an open one may close
	denied error // why the provider last turned us away, nil since it answered
}

// outage is a row of failures. The provider is down once Until is set.
type outage struct {
	failures     int
	since, until time.Time
	why          error // of the latest
}

func (o outage) down() bool { return !o.until.IsZero() }

// verdict is what a call says of its provider.
type verdict int

const (
	silent  verdict = iota // nothing: it was not made, or cut short by us
	answers                // it works, though the answer may be a No
	fails
)

// change is what a verdict changes.
type change int

const (
	unchanged change = iota
	wentDown
	cameUp
)

// admit asks leave for a call. Every call that got it reports to done, with the
// trial it was given. Without leave, the outage says why.
func (b *breaker) admit() (trial bool, o outage, ok bool) {
	if b == nil {
		return false, outage{}, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.out.down():
		return false, outage{}, true
	case b.trying || b.now().Before(b.out.until):
		return false, b.out, false
	}
	b.trying = true
	return true, outage{}, true
}

// done takes the verdict of a call. The outage is the one that began, goes on or
// is over now.
func (b *breaker) done(trial bool, v verdict, why error) (change, outage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if trial {
		b.trying = false
	}
	was := b.out
	switch {
	case v == answers:
		b.out, b.denied = outage{}, nil
		if bus.CodeOf(why) == bus.CodeDenied {
			b.denied = why
		}
		if was.down() {
			return cameUp, was
		}
	case v == fails && (trial || !was.down()): // late ones of before it opened do not count
		if b.out.failures++; b.out.failures == 1 {
			b.out.since = b.now()
		}
		b.out.why = why
		if b.out.failures >= b.limit {
			b.out.until = b.now().Add(b.pause)
			return wentDown, b.out
		}
	}
	return unchanged, b.out
}

// state is the outage under way, if any, and why the provider turned us away.
func (b *breaker) state() (o outage, denied error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out, b.denied
}
