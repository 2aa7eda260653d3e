// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"testing"
	"time"
)

// A try that was under way when the channel came back, and failed, is made again at once.
func TestChannelComesBackMeanwhile(t *testing.T) {
	o := newOutbox()
	o.add(1, time.Now())
	claim := func() bool { _, ok := o.claim(); return ok }
	if !claim() {
		t.Fatal("a new reply does not go")
	}
	o.back()
	o.postpone(1, time.Now().Add(time.Hour))
	if !claim() {
		t.Error("it waits for what has been")
	}
	o.postpone(1, time.Now().Add(time.Hour))
	if claim() {
		t.Error("it does not wait")
	}
	o.back()
	if !claim() {
		t.Error("it waits though the channel is back")
	}
	o.hold(1, time.Now().Add(time.Hour))
	if o.back(); claim() {
		t.Error("it goes before the channel wants it")
	}
}
