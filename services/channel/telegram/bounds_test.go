// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blufio/blufio/services/roomtest"
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

// Among more silent chats than are remembered the one that may speak soonest is
// forgotten: never the one at hand, nor one that is told to wait again.
func TestSilentChatsAreBounded(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := newPace(func() time.Time { return now }, func() time.Duration { return 0 })
	for chat := range int64(maxHolds) {
		p.hold(chat, time.Hour+time.Duration(chat)*time.Second)
	}
	p.hold(3, 2*time.Hour) // it is known: nobody has to go for it
	if p.silent() != maxHolds || p.wait(0) != time.Hour {
		t.Errorf("%d chats are silent, the first for %s", p.silent(), p.wait(0))
	}
	p.hold(5000, time.Minute) // the soonest of all itself
	for chat, want := range map[int64]time.Duration{5000: time.Minute, 0: 0, 1: time.Hour + time.Second, 3: 2 * time.Hour, maxHolds - 1: time.Hour + (maxHolds-1)*time.Second} {
		if got := p.wait(chat); got != want {
			t.Errorf("chat %d waits %s, want %s", chat, got, want)
		}
	}
	if p.silent() != maxHolds {
		t.Errorf("%d chats are silent", p.silent())
	}
}

// Groups that move have a bound: one beyond is told in the log, and the bound holds
// over a restart.
func TestMovedIsBounded(t *testing.T) {
	ctx := t.Context()
	var logged bytes.Buffer
	store := roomtest.OpenStore(t, filepath.Join(t.TempDir(), "blufio.db"), Schema)
	s := &Service{store: store, moved: &moved{}, log: slog.New(slog.NewTextHandler(&logged, nil))}
	if err := s.moved.load(ctx, store); err != nil {
		t.Fatal(err)
	}
	for n := range int64(maxMoved - 1) {
		s.moved.set(-1-n, -1_000_000-n)
	}
	for _, old := range []int64{-5001, -5001, -5002} {
		if err := s.move(ctx, old, old-1_000_000); err != nil {
			t.Fatal(err)
		}
	}
	if s.moved.size() != maxMoved || s.moved.formerly(-1_005_001) != -5001 || s.moved.formerly(-1_005_002) != 0 || !strings.Contains(logged.String(), "too many") {
		t.Errorf("%d groups, logged %s", s.moved.size(), logged.String())
	}
	if err := s.moved.load(ctx, store); err != nil || s.moved.size() != 1 {
		t.Errorf("%d groups are noted, %v", s.moved.size(), err)
	}
}

// A page that will come again is a reason to pause, also one without any id.
func TestOffsetBehindAPage(t *testing.T) {
	for _, c := range []struct {
		offset, last int64
		updates      int
		taken        bool
		next         int64
		progress     bool
	}{
		{0, 7, 1, true, 8, true},
		{8, 12, 5, true, 13, true},
		{13, 0, 0, true, 0, true},
		{8, 12, 5, false, 8, false},
		{8, 0, 1, true, 8, false}, // no id
		{0, 0, 1, true, 0, false},
		{9000, 5, 1, true, 6, false}, // begun anew
		{6, 6, 1, true, 7, true},
		{9, 8, 1, true, 9, false}, // confirmed, and here again
	} {
		if next, progress := behind(c.offset, c.last, c.updates, c.taken); next != c.next || progress != c.progress {
			t.Errorf("%+v: got %d, %v", c, next, progress)
		}
	}
}

// Drafts of one chat share what Telegram allows there, and a group has less of it.
func TestDraftIntervals(t *testing.T) {
	s := &Service{cfg: Config{EditInterval: time.Second}, pauses: pauses{group: 4 * time.Second}, drafts: map[string]*draft{}}
	for id, chat := range map[string]int64{"a": 1, "b": -2, "c": -3, "d": -3} {
		s.drafts[id] = &draft{place: place{Chat: chat}}
	}
	for chat, want := range map[int64]time.Duration{1: time.Second, -2: 4 * time.Second, -3: 8 * time.Second} {
		if got := s.interval(chat); got != want {
			t.Errorf("chat %d: %s, want %s", chat, got, want)
		}
	}
	s.cfg.EditInterval = 10 * time.Second
	if got := s.interval(-2); got != 10*time.Second {
		t.Errorf("a longer interval is not kept: %s", got)
	}
}

// A request for a draft that Telegram does not answer outlives the draft, and the room only
// for a moment: the agent's turns would have no time left to end in.
func TestHungRequestDoesNotHoldUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{pace: newPace(time.Now, func() time.Duration { return time.Minute })}
		life, end := context.WithCancel(t.Context())
		ctx, stop := context.WithCancel(life)
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		done := make(chan error, 1)
		go func() { done <- s.unhurried(ctx, &draft{place: place{Chat: 1}, life: life}, hang) }()
		synctest.Wait()
		stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("it was cut off by the reply")
		}
		began := time.Now()
		end()
		if err := <-done; err == nil || time.Since(began) != LastWords {
			t.Errorf("%v after %s, want %s", err, time.Since(began), LastWords)
		}
	})
}

// A draft whose reply has come leaves the next slot to it.
func TestOverdueDraftTakesNoSlot(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &Service{pace: newPace(func() time.Time { return now }, func() time.Duration { return time.Minute })}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	request := func(context.Context) error { t.Error("it was sent"); return nil }
	if err := s.unhurried(ctx, &draft{place: place{Chat: 1}, life: ctx}, request); err == nil {
		t.Error("it was shown")
	}
	if d := s.pace.wait(1); d != 0 {
		t.Errorf("the reply waits %s", d)
	}
}
