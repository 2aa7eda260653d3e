// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The clock is looked at only while a reply is held back.
func TestNothingHeldBackNoClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		s := &Service{pauses: defaultPauses(), now: func() time.Time { looks.Add(1); return time.Now() }, cfg: Config{MaxDeliveries: 1}}
		o := newOutbox()
		ctx, stop := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer stop()
		go func() { _ = s.runDeliveries(ctx, ctx, o) }()
		pass := func(d time.Duration, want int64) {
			t.Helper()
			looks.Store(0)
			time.Sleep(d)
			synctest.Wait()
			if n := looks.Load(); n < want || n > want+1 {
				t.Errorf("%d looks at the clock in %s, want %d", n, d, want)
			}
		}
		pass(time.Hour, 0)
		o.mu.Lock()
		o.sessions[1] = &undelivered{claimed: true, since: []time.Time{time.Now()}}
		o.mu.Unlock()
		o.hold(1, time.Now().Add(time.Hour))
		pass(10*time.Second, int64(10*time.Second/s.pauses.check))
		o.reset()
		pass(time.Hour, 1)
	})
}

// A try that was under way when the channel came back, and failed, is made again at once.
func TestChannelComesBackMeanwhile(t *testing.T) {
	o, now := newOutbox(), time.Now()
	o.add(1, now)
	claim := func() bool { _, ok := o.claim(); return ok }
	if !claim() {
		t.Fatal("a new reply does not go")
	}
	o.failure(1)
	o.back(now)
	o.postpone(1, now, time.Hour, 0)
	if !claim() {
		t.Error("it waits for what has been")
	}
	if n := o.failure(1); n != 1 {
		t.Errorf("%d failures count since", n)
	}
	o.postpone(1, now, time.Hour, 0)
	if claim() {
		t.Error("it does not wait")
	}
	o.back(now)
	if !claim() {
		t.Error("it waits though the channel is back")
	}
	o.back(now)
	o.postpone(1, now, time.Hour, time.Minute)
	o.back(now)
	if o.due(now.Add(time.Minute - 1)); claim() {
		t.Error("it goes before the channel wants it")
	}
	if o.due(now.Add(time.Minute)); !claim() {
		t.Error("it waits longer than the channel wants")
	}
	o.hold(1, now.Add(time.Hour))
	if o.back(now); claim() {
		t.Error("it goes though it is no channel that it waits for")
	}
}

// After a pause, too, it is the turn of the session that has waited longest.
func TestLongestFirst(t *testing.T) {
	now := time.Now()
	for name, end := range map[string]func(*outbox){
		"the channel is back":   func(o *outbox) { o.back(now) },
		"the pauses have ended": func(o *outbox) { o.due(now.Add(time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutbox()
			var want, got []int64
			for i := range 100 {
				session := int64(i * 37 % 100) // not the order of their ids
				want = append(want, session)
				o.add(session, now.Add(time.Duration(i)*time.Second), now)
			}
			for range want {
				session, _ := o.claim()
				o.postpone(session, now, time.Hour, 0)
			}
			end(o)
			for session, ok := o.claim(); ok; session, ok = o.claim() {
				got = append(got, session)
			}
			if !slices.Equal(got, want) {
				t.Errorf("in the order %v", got)
			}
		})
	}
}
