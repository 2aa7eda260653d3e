// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"testing"

	"github.com/blufio/blufio/bus"
)

// A channel that is a program of its own is known by its key. Its replies wait for it,
// also across a restart, and hold up nobody else's.
func TestChannelOutside(t *testing.T) {
	r := newRig(t, echo).start()
	m := message("s", "hello")
	m.Channel = "sms"
	if _, err := r.trySend(m); err != nil {
		t.Fatal(err)
	}
	if reply := r.chat("s", "own"); reply.Text != "echo own" {
		t.Errorf("own reply %+v", reply)
	}
	r.restart()
	outside := &channel{more: make(chan struct{})}
	sms := r.bus.Connect(t, "sms")
	if err := sms.Handle(t.Context(), bus.MessageSend.To("sms").Answer(outside.take)); err != nil {
		t.Fatal(err)
	}
	r.until("the reply is delivered", func() bool { return len(outside.replies()) > 0 })
	if got := outside.replies()[0].Text; got != "echo hello" {
		t.Errorf("delivered %q", got)
	}
}
