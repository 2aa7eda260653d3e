// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"fmt"
	"path/filepath"
	"testing"
)

// What is announced is heard by all, in order with what is published, and is
// not in the stream; the same event can be stored afterwards.
func TestAnnounceIsHeardAndNotStored(t *testing.T) {
	s, e := startWithEvents(t, nil)
	room := listen(t, house(t, s, "agent"), tick)
	observer := listen(t, watch(t, s, "observer"), tick)
	mustPublish(t, e, Event{Subject: tick, ID: "1", Data: []byte("1")})
	if err := e.Announce(Event{Subject: tick, ID: "2", Data: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	if ack := mustPublish(t, e, Event{Subject: tick, ID: "3", Data: []byte("3")}); ack.Seq != 2 {
		t.Errorf("the announced event is stored: %+v", ack)
	}
	for i := range 3 {
		want := fmt.Sprint(i + 1)
		if got := string(next(t, room).Data); got != want {
			t.Errorf("room heard %s, want %s", got, want)
		}
		if got := string(next(t, observer).Data); got != want {
			t.Errorf("observer heard %s, want %s", got, want)
		}
	}
	if err := e.Err(); err != nil {
		t.Errorf("announcing counts as a failure: %v", err)
	}
	if ack, err := e.storeAndWait(t, Event{Subject: tick, ID: "2"}); err != nil || ack.Duplicate {
		t.Errorf("%+v, %v", ack, err)
	}
}

// Events are heard before the stream was ever opened, and when it cannot be.
func TestEventsAreHeardWithoutAnyStream(t *testing.T) {
	s := start(t, func(c *Config) { c.Dir = filepath.Join("/dev/null", "events") })
	e, err := s.Events()
	if err != nil {
		t.Fatal(err)
	}
	room := listen(t, house(t, s, "agent"), tick)
	if err := e.Announce(Event{Subject: tick, ID: "1"}); err != nil {
		t.Fatal(err)
	}
	next(t, room)
	if _, err := s.OpenEvents(deadline(t)); err == nil {
		t.Fatal("opened")
	}
	if err := e.Announce(Event{Subject: tick, ID: "2"}); err != nil {
		t.Fatal(err)
	}
	next(t, room)
	if again, err := s.Events(); err != nil || again != e {
		t.Errorf("another Events: %v", err)
	}
	stop(t, s)
	if _, err := s.Events(); err == nil {
		t.Error("a stopped server gave Events")
	}
}
