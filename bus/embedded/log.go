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
// cause refusals as fast as it can write, so at most one a second is logged.
type logBridge struct {
	log         *slog.Logger
	denied      atomic.Pointer[func(Denial)] // nil: nobody hears
	authErrors  atomic.Uint64
	denials     atomic.Uint64
	limitErrors atomic.Uint64
	leaf        leafTrouble
	cutOffs     atomic.Uint64

	mu     sync.Mutex
	logged time.Time  // when the last refusal was logged
	cut    [16]string // connections cut off last
	fatal  error      // the first fatal line
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
	if b.refusalDue(time.Now()) {
		b.log.Warn("bus refused a client", "reason", d.Reason, "key", d.Key, "subject", d.Subject,
			"auth_errors", b.authErrors.Load(), "denials", b.denials.Load(), "limit_errors", b.limitErrors.Load(), "cut_off", b.cutOffs.Load())
	}
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

// refusalDue says whether a second has passed since the last logged refusal.
func (b *logBridge) refusalDue(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.logged) < time.Second {
		return false
	}
	b.logged = now
	return true
}

func (b *logBridge) fatalError() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fatal
}

func line(format string, v []any) string { return fmt.Sprintf(format, v...) }
