// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// What the room remembers has bounds, and gives room back.
func TestBounds(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := func() time.Time { return now }

	a := newAllowList(nil, clock)
	for id := range int64(maxRefused + 10) {
		if told := a.tell(id); told != (id < maxRefused) {
			t.Fatalf("person %d told: %v", id, told)
		}
	}
	if a.size() != maxRefused || a.tell(1) {
		t.Errorf("%d people are remembered", a.size())
	}
	now = now.Add(tellEvery)
	if !a.tell(5000) || a.size() != 1 {
		t.Errorf("afterwards %d people are remembered", a.size())
	}

	ty := newTyping(time.Minute, clock)
	for i := range int64(maxTyping + 10) {
		ty.begin(fmt.Sprint(i), place{Chat: i})
	}
	if n := len(ty.places()); n != maxTyping {
		t.Errorf("%d chats show typing", n)
	}
	ty.end("early")
	now = now.Add(2 * time.Minute)
	if n := len(ty.places()); n != 0 {
		t.Errorf("%d chats show typing for ever", n)
	}
	ty.begin("early", place{Chat: 1})
	if n := len(ty.places()); n != 0 {
		t.Error("typing is shown after the reply")
	}

	var r recent
	for i := range 2000 {
		r.add(fmt.Sprint(i))
	}
	if len(r.ids) != len(r.ring) || !r.has("1999") || r.has("0") {
		t.Errorf("%d ids are remembered", len(r.ids))
	}

	p := newPace(clock, func() time.Duration { return time.Second })
	if a, b := p.wait(1), p.wait(2); a != 0 || b != time.Second {
		t.Errorf("two at once wait %s and %s", a, b)
	}
	for chat := range int64(100) {
		p.hold(chat, time.Minute)
	}
	if d := p.wait(7); d != time.Minute {
		t.Errorf("a silent chat waits %s", d)
	}
	now = now.Add(time.Hour)
	if p.hold(1, time.Minute); len(p.holds) != 1 {
		t.Errorf("%d silent chats are remembered", len(p.holds))
	}
}

// A draft whose reply has come leaves the next slot to it.
func TestOverdueDraftTakesNoSlot(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &Service{pace: newPace(func() time.Time { return now }, func() time.Duration { return time.Minute })}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	request := func(context.Context) error { t.Error("it was sent"); return nil }
	if err := s.unhurried(ctx, &draft{place: place{Chat: 1}}, request); err == nil {
		t.Error("it was shown")
	}
	if d := s.pace.wait(1); d != 0 {
		t.Errorf("the reply waits %s", d)
	}
}
