// SPDX-License-Identifier: MIT OR Apache-2.0

package hooks

import (
	"testing"
	"time"
)

// A storm of one name is an alert a minute with their number; other names do not wait
// for it, and whoever came first is told first.
func TestAStormIsOneAlert(t *testing.T) {
	a, now := newAlerts(), time.Unix(1000, 0)
	for range 3 {
		a.add("budget.exhausted", []byte("1"))
	}
	a.add("channel.down", []byte("2"))
	tell := func(name string, count int, event string) {
		t.Helper()
		got, _ := a.next(now)
		if got == nil || got.name != name || got.count != count || string(got.event) != event {
			t.Errorf("told %+v, want %s %d %s", got, name, count, event)
		}
	}
	silent := func(wait time.Duration) {
		t.Helper()
		if got, w := a.next(now); got != nil || w != wait {
			t.Errorf("told %+v, wait %s, want %s", got, w, wait)
		}
	}
	tell("budget.exhausted", 3, "1")
	tell("channel.down", 1, "2")
	silent(0)
	for range 1000 {
		a.add("budget.exhausted", []byte("3"))
	}
	now = now.Add(20 * time.Second)
	silent(40 * time.Second)
	a.add("reply.died", []byte("4"))
	tell("reply.died", 1, "4")
	a.add("reply.died", []byte("5"))
	silent(40 * time.Second)
	if n := a.left(); n != 2 {
		t.Errorf("%d names wait, want 2", n)
	}
	now = now.Add(40 * time.Second)
	tell("budget.exhausted", 1000, "3")
	silent(20 * time.Second)
	now = now.Add(20 * time.Second)
	tell("reply.died", 1, "5")
	silent(0)
}
