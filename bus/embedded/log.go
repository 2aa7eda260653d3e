// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

var _ server.Logger = (*logBridge)(nil)

// logBridge carries the server's log to slog. The server is chatty at notice
// level, so a notice is debug here. It also hears of refusals: the server says
// in its log, and nowhere else, that it denied a publish, or cut a client off, then
// with locks of the client held. Any client can
// cause refusals as fast as it can write, and one that is shut out comes back every few
// seconds: at most one line a second is written, and one a minute about the same client.
type logBridge struct {
	log         *slog.Logger
	denied      atomic.Pointer[func(Denial)] // nil: nobody hears
	authErrors  atomic.Uint64
	denials     atomic.Uint64
	limitErrors atomic.Uint64
	leaf        leafTrouble
	cutOffs     atomic.Uint64
	who         func(Denial) string // names the one who was refused; waits for nobody

	mu     sync.Mutex
	logged time.Time               // when the last refusal was logged
	quiet  map[refusalKey]*silence // who was logged within a minute
	cut    [16]string              // connections cut off last
	fatal  error                   // the first fatal line
}

func (b *logBridge) Debugf(format string, v ...any) { b.log.Debug(line(format, v)) }
func (b *logBridge) Tracef(format string, v ...any) { b.log.Debug(line(format, v)) }
func (b *logBridge) Warnf(format string, v ...any)  { b.log.Warn(line(format, v)) }

func (b *logBridge) Noticef(format string, v ...any) {
	text := line(format, v)
	if d, connection, ok := readCutOff(text); ok && b.firstOf(connection) {
		b.refused(d)
	}
	b.log.Debug(text)
}

// firstOf is false when the connection is one of those cut off last: the server says it
// again for each message that finds no room before the connection is gone.
func (b *logBridge) firstOf(connection string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.cut[:], connection) {
		return false
	}
	copy(b.cut[1:], b.cut[:])
	b.cut[0] = connection
	return true
}

// Fatalf keeps the first reason for Start to return. The server expects its
// logger to end the process here; ending a process is for main alone.
func (b *logBridge) Fatalf(format string, v ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fatal == nil {
		b.fatal = errors.New(line(format, v))
	}
}

func (b *logBridge) Errorf(format string, v ...any) {
	text := line(format, v)
	if reason, ok := leafReason(text); ok {
		if b.leaf.note(reason, time.Now()) {
			b.log.Warn("the hub is not reached: " + reason)
		}
		return
	}
	d, ok := readDenial(text)
	if !ok {
		b.log.Error(text)
		return
	}
	b.refused(d)
}

// refused counts a refusal and tells of it. What is refused beside the server, in its
// name, is told here too.
func (b *logBridge) refused(d Denial) {
	b.counter(d.Reason).Add(1)
	if hear := b.denied.Load(); hear != nil {
		(*hear)(d)
	}
	if times := b.refusalDue(d, time.Now()); times > 0 {
		b.log.Warn("bus refused a client", b.told(d, times)...)
	}
}

// told are the fields of the line about a refusal, without empty ones.
func (b *logBridge) told(d Denial, times int) []any {
	fields := []any{"reason", d.Reason}
	if who := b.who(d); who != "" && who != d.Key {
		fields = append(fields, "name", who)
	}
	if d.Key != "" {
		fields = append(fields, "key", d.Key)
	}
	if d.Subject != "" {
		fields = append(fields, "subject", d.Subject)
	}
	return append(fields, "times", times)
}

// counter is the one that a refusal belongs to.
func (b *logBridge) counter(reason string) *atomic.Uint64 {
	switch reason {
	case DeniedNoKey, DeniedBadKey:
		return &b.authErrors
	case DeniedPermission:
		return &b.denials
	case DeniedSlow:
		return &b.cutOffs
	}
	return &b.limitErrors
}

// Bounds of the lines about refusals.
const (
	refusalEvery = time.Second // any
	sameEvery    = time.Minute // about the same client, for the same reason
	maxQuiet     = 64          // clients told apart; more are told together
)

type refusalKey struct{ reason, key string }

// silence is about a client that was logged and is not again until a minute is over.
type silence struct {
	logged time.Time // zero: not yet
	times  int       // refused since
}

// refusalDue says how often the client was refused since it was logged last, this time
// included, if a line about it is due, and else 0.
func (b *logBridge) refusalDue(d Denial, now time.Time) (times int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := refusalKey{d.Reason, d.Key}
	q := b.quiet[key]
	if q == nil {
		b.forget(now)
		if len(b.quiet) >= maxQuiet {
			key.key = ""
		}
		if q = b.quiet[key]; q == nil {
			q = &silence{}
			if b.quiet == nil {
				b.quiet = map[refusalKey]*silence{}
			}
			b.quiet[key] = q
		}
	}
	q.times++
	if now.Sub(b.logged) < refusalEvery || now.Sub(q.logged) < sameEvery {
		return 0
	}
	times, b.logged = q.times, now
	q.logged, q.times = now, 0
	return times
}

// forget leaves out who was quiet for a minute since it was logged. b.mu is held.
func (b *logBridge) forget(now time.Time) {
	for key, q := range b.quiet {
		if old := now.Sub(q.logged); old >= 2*sameEvery || old >= sameEvery && q.times == 0 {
			delete(b.quiet, key)
		}
	}
}

func (b *logBridge) fatalError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatal
}

func line(format string, v []any) string { return fmt.Sprintf(format, v...) }
