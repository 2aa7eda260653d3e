// SPDX-License-Identifier: MIT OR Apache-2.0

package terminal

import (
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/roomtest"
)

// A reply is taken over and reaches whoever listens; that is the channel's
// evidence.
func TestReplyReachesTheListeners(t *testing.T) {
	b := bustest.New(t)
	noon := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	s := New(func() time.Time { return noon })
	channel := s.Door().Channel
	roomtest.Start(t, b, s)
	if c := channel(); c.State != bus.Healthy || c.LastSuccess != nil || c.LastError != nil {
		t.Errorf("before: %+v", c)
	}
	watch := b.Watch(t)
	agent := b.Connect(t, "agent", bus.MessageSend)
	want := bus.Reply{MessageID: "7", Text: "hello"}
	if _, err := bus.MessageSend.To(Name).Ask(t.Context(), agent, want); err != nil {
		t.Fatal(err)
	}
	got := bustest.Wait[bus.Reply](t, watch, bus.TerminalReply, 1, nil)
	if got.MessageID != want.MessageID || got.Text != want.Text {
		t.Errorf("heard %+v", got)
	}
	if c := channel(); c.State != bus.Healthy || c.LastSuccess == nil || !c.LastSuccess.Equal(noon) {
		t.Errorf("after: %+v", c)
	}
}

// What failed last decides the channel's state; the error stays as evidence.
func TestChannelTellsOfAFailure(t *testing.T) {
	b := bustest.New(t)
	now := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	s := New(func() time.Time { now = now.Add(time.Second); return now })
	s.conn = b.Connect(t, Name) // which may not say the lane
	if _, err := s.send(t.Context(), bus.Reply{}); bus.CodeOf(err) != bus.CodeDenied {
		t.Fatalf("send: %v", err)
	}
	if c := s.channel(); c.State != bus.Degraded || c.LastError == nil || c.LastErrorAt == nil || c.LastSuccess != nil {
		t.Errorf("after a failure: %+v", c)
	}
	s.conn = b.Connect(t, Name, bus.TerminalReply)
	if _, err := s.send(t.Context(), bus.Reply{}); err != nil {
		t.Fatal(err)
	}
	if c := s.channel(); c.State != bus.Healthy || c.LastError == nil || c.LastSuccess == nil {
		t.Errorf("after a success: %+v", c)
	}
}
