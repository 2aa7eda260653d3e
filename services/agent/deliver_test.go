// SPDX-License-Identifier: MIT OR Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm"
)

func TestDeliveredInOrderAcrossRetries(t *testing.T) {
	r := newRig(t, echo)
	var tries atomic.Int32
	r.gateway.refuse(func(m bus.Reply) error {
		if tries.Add(1); m.Attempt < 3 {
			return errDown
		}
		return nil
	})
	r.start()
	for n := range 4 {
		r.send("a", numbered(n))
		r.send("b", numbered(n))
	}
	next := map[string]int{}
	for _, got := range r.wait(8) {
		if want := "echo " + numbered(next[got.Session]); got.Text != want || got.Attempt != 3 || got.Key != got.MessageID {
			t.Errorf("got %+v, want %q at the third attempt", got, want)
		}
		next[got.Session]++
	}
	if n := tries.Load(); n != 24 {
		t.Errorf("%d tries, want 24", n)
	}
	r.until("the outbox is empty", func() bool { return r.number(`SELECT count(*) FROM outbox`) == 0 })
	if got := facts(r, bus.ReplyDelivered); len(got) != 8 || got[0].Attempts != 3 {
		t.Errorf("delivered: %+v", got)
	}
}

func TestBackoff(t *testing.T) {
	r := newRig(t, echo)
	var tries atomic.Int32
	r.gateway.refuse(func(bus.Reply) error {
		tries.Add(1)
		return &bus.Error{Code: bus.CodeBusy, Message: "slow down", RetryAfter: 90 * time.Minute}
	})
	r.setup = func(s *agent.Service) { s.HurryDelivery(time.Hour) }
	r.start()
	r.send("s", "hello")
	held := func(attempts int64) func() bool {
		return func() bool {
			return r.number(`SELECT coalesce(max(attempts), 0) FROM outbox`) == attempts && r.agent.LookAtOutbox() == 0
		}
	}
	r.until("the first attempt is noted", held(1))
	r.clock.add(89 * time.Minute) // the pause would be half an hour to an hour, but the channel knows better
	if n := r.agent.LookAtOutbox(); n != 0 || tries.Load() != 1 {
		t.Fatalf("%d replies go, %d went, before the pause was over", n, tries.Load())
	}
	r.clock.add(2 * time.Minute)
	r.until("the second attempt is noted", held(2))
	r.clock.add(89 * time.Minute) // now it would be one to two hours
	if n := r.agent.LookAtOutbox(); n != 0 || tries.Load() != 2 {
		t.Fatalf("%d replies go, %d went, before the pause was over", n, tries.Load())
	}
	r.gateway.refuse(nil)
	r.clock.add(2 * time.Hour)
	if got := r.wait(1)[0]; got.Attempt != 3 {
		t.Errorf("reply: %+v", got)
	}
}

// What waits for a channel to work again goes when it does; what the channel wants later goes later, but not later than that.
func TestChannelComesBack(t *testing.T) {
	r := newRig(t, echo)
	down := map[string]error{
		"echo now":   errDown,
		"echo soon":  &bus.Error{Code: bus.CodeBusy, Message: "slow down", RetryAfter: time.Second},
		"echo later": &bus.Error{Code: bus.CodeBusy, Message: "slow down", RetryAfter: 90 * time.Minute},
	}
	r.gateway.refuse(func(m bus.Reply) error { return down[m.Text] })
	r.setup = func(s *agent.Service) { s.HurryDelivery(time.Hour) }
	r.start()
	r.send("a", "now")
	r.send("b", "soon")
	r.send("c", "later")
	r.until("all were tried, and wait", func() bool {
		return r.number(`SELECT count(*) FROM outbox WHERE attempts = 1`) == 3 && r.agent.LookAtOutbox() == 0
	})
	r.gateway.refuse(func(m bus.Reply) error {
		if m.Text == "echo later" {
			return down[m.Text]
		}
		return nil
	})
	up := r.channelUp()
	up("nobody")
	up("gateway")
	if got := r.wait(1)[0]; got.Text != "echo now" || got.Attempt != 2 {
		t.Errorf("%+v", got)
	}
	r.until("two are left, and wait", func() bool { return r.number(`SELECT count(*) FROM outbox`) == 2 && r.agent.LookAtOutbox() == 0 })
	r.clock.add(2 * time.Second)
	if got := r.wait(2)[1]; got.Text != "echo soon" || got.Attempt != 2 {
		t.Errorf("%+v", got)
	}
	r.until("one is left, and waits", func() bool { return r.number(`SELECT count(*) FROM outbox`) == 1 && r.agent.LookAtOutbox() == 0 })
	if n := r.number(`SELECT max(attempts) FROM outbox`); n != 1 {
		t.Errorf("%d tries before the channel wants another", n)
	}
}

// After a long outage the pauses are short again: a channel that is back may fail once more before it works.
func TestPausesAfterAnOutage(t *testing.T) {
	r := newRig(t, echo)
	var down atomic.Bool
	down.Store(true)
	r.gateway.refuse(func(bus.Reply) error {
		if down.Load() {
			return errDown
		}
		return nil
	})
	const pause = time.Second // at most a hundred of them
	r.setup = func(s *agent.Service) { s.HurryDelivery(pause) }
	r.start()
	r.send("a", "now")
	tried := func(times int64) {
		t.Helper()
		r.until("it was tried, and waits", func() bool {
			return r.number(`SELECT coalesce(max(attempts), 0) FROM outbox`) == times && r.agent.LookAtOutbox() == 0
		})
	}
	for n := range int64(10) {
		tried(n + 1)
		if n < 9 {
			r.clock.add(100 * pause)
		}
	}
	r.channelUp()("gateway")
	tried(11)
	down.Store(false)
	r.clock.add(2 * pause)
	if got := r.wait(1)[0]; got.Attempt != 12 {
		t.Errorf("%+v", got)
	}
}

// channelUp makes what says that a channel is back, as the relay does.
func (r *rig) channelUp() func(channel string) {
	r.t.Helper()
	telegram := r.bus.Connect(r.t, "telegram", bus.ChannelUp)
	return func(channel string) {
		r.t.Helper()
		subject, data, err := bus.ChannelUp.Encode(bus.ChannelFact{Time: r.clock.now(), Channel: channel})
		if err == nil {
			err = telegram.NATS().Publish(subject, data)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

func TestReplyExpires(t *testing.T) {
	r := newRig(t, echo)
	r.gateway.refuse(func(m bus.Reply) error {
		if m.Text == "echo old" {
			return errDown
		}
		return nil
	})
	r.start()
	id := r.send("s", "old")
	r.send("s", "new")
	r.until("it was tried", func() bool { return r.number(`SELECT count(*) FROM outbox WHERE attempts > 0`) > 0 })
	r.clock.add(r.cfg.ReplyExpires)
	if got := r.wait(1); got[0].Text != "echo new" {
		t.Errorf("replies: %q", texts(got))
	}
	died := facts(r, bus.ReplyDied)
	if len(died) != 1 || died[0].MessageID != id || died[0].Attempts < 2 || died[0].Error == "" || strings.Contains(died[0].Error, "old") {
		t.Errorf("died: %+v", died)
	}
	if n := r.status().Queues.Dead; n != 1 {
		t.Errorf("status counts %d dead letters", n)
	}
	if m := r.get(id); m.Reply != "echo old" {
		t.Errorf("the answer is gone: %+v", m)
	}
	if n := r.number(`SELECT count(*) FROM outbox WHERE state = 'dead' AND error <> ''`); n != 1 {
		t.Errorf("%d dead letters are kept", n)
	}
}

// TestDeliveredAgainAfterRestart: the channel had it, the note was lost.
func TestDeliveredAgainAfterRestart(t *testing.T) {
	r := newRig(t, echo).start()
	first := r.chat("s", "hello")
	r.stop()
	r.open()
	r.exec(`INSERT INTO outbox (seq, session_id, created_at) SELECT seq, session_id, finished_at FROM message`)
	r.startCost()
	r.startRoom()
	second := r.wait(2)[1]
	if first.Key != second.Key || first.Text != second.Text {
		t.Errorf("first %+v, then %+v", first, second)
	}
}

// TestHangingChannel: a channel that takes all its slots holds up only itself.
func TestHangingChannel(t *testing.T) {
	r := newRig(t, echo)
	release := make(chan struct{})
	var hanging atomic.Int32
	terminal := r.bus.Connect(t, "terminal")
	err := terminal.Handle(t.Context(), bus.MessageSend.To("terminal").Answer(func(ctx context.Context, _ bus.Reply) (bus.Receipt, error) {
		hanging.Add(1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return bus.Receipt{}, nil
	}).Workers(200))
	if err != nil {
		t.Fatal(err)
	}
	r.start()
	for n := range 100 {
		if _, err := r.trySend(bus.Message{Channel: "terminal", Owner: "ann", Session: fmt.Sprint(n), Text: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	r.until("the terminal hangs", func() bool { return hanging.Load() == 64 })
	r.chat("s", "hello")
	close(release)
	r.until("the terminal has all", func() bool { return hanging.Load() == 100 })
}

func TestDrain(t *testing.T) {
	t.Run("a turn under way ends and its reply leaves", func(t *testing.T) {
		open := make(chan struct{})
		r := newRig(t, gate(open))
		r.start()
		r.send("a", "1")
		r.send("a", "2") // does not begin any more
		r.until("it runs", func() bool { return len(r.model.asked()) == 1 })
		context.AfterFunc(r.asked, func() { close(open) })
		r.stopRoom()
		if got := texts(r.gateway.replies()); !slices.Equal(got, []string{"echo 1"}) {
			t.Errorf("replies: %q", got)
		}
		if n := r.number(`SELECT count(*) FROM outbox`); n != 0 {
			t.Errorf("%d replies are left", n)
		}
		r.startRoom()
		r.wait(2)
		if n := len(facts(r, bus.TurnInterrupted)); n != 0 {
			t.Errorf("%d turns count as interrupted", n)
		}
	})
	t.Run("replies of one session wait in line", func(t *testing.T) {
		r := newRig(t, echo)
		hold := make(chan struct{})
		r.gateway.refuse(func(bus.Reply) error { <-hold; return nil })
		r.start()
		for n := range 5 {
			r.send("a", numbered(n))
		}
		r.until("all are answered", func() bool { return r.number(`SELECT count(*) FROM outbox`) == 5 })
		context.AfterFunc(r.asked, func() { close(hold) })
		r.stopRoom()
		if got := texts(r.gateway.replies()); !slices.Equal(got, []string{"echo m0", "echo m1", "echo m2", "echo m3", "echo m4"}) {
			t.Errorf("replies: %q", got)
		}
	})
	t.Run("a longer one is put back", func(t *testing.T) {
		r := newRig(t, gate(nil))
		r.finish = 10 * time.Millisecond
		r.start()
		id := r.send("a", "1")
		r.until("it runs", func() bool { return len(r.model.asked()) == 1 })
		r.stop()
		r.model.complete = echo
		r.start()
		r.wait(1)
		if n := r.number(`SELECT attempts - forgiven FROM message WHERE id = ?`, id); n != 1 {
			t.Errorf("the attempt that was cut off counts: %d", n)
		}
		if n := len(facts(r, bus.TurnInterrupted)); n != 0 || r.status().Sessions.Interrupted != 0 {
			t.Errorf("%d turns count as interrupted", n)
		}
	})
	t.Run("a delivery that is cut off is tried again", func(t *testing.T) {
		r := newRig(t, echo)
		hold := make(chan struct{})
		defer close(hold)
		var began atomic.Bool
		r.gateway.refuse(func(bus.Reply) error {
			if began.CompareAndSwap(false, true) {
				<-hold
			}
			return nil
		})
		r.finish = 10 * time.Millisecond
		r.start()
		r.send("a", "1")
		r.until("it is under way", began.Load)
		r.stop()
		r.start()
		if got := r.wait(1)[0]; got.Attempt != 1 {
			t.Errorf("the attempt that was cut off counts: %+v", got)
		}
	})
}

// TestDiskFull: an answer that cannot be stored is kept until it can; it is not
// asked for again.
func TestDiskFull(t *testing.T) {
	r, ballast := smallDisk(t)
	r.model.complete = func(context.Context, llm.Request, func(string)) (llm.Response, error) {
		fill(t, ballast)
		return say(strings.Repeat("long ", 20_000)), nil
	}
	r.forgetful = true // it empties the write-ahead log, which gives space back
	r.start()
	id := r.send("s", "hello")
	r.until("the disk is full", func() bool { return r.store.Stats().LastError != nil })
	_, err := r.trySend(message("other", strings.Repeat("x", 60_000)))
	wantCode(t, err, bus.CodeUnavailable)
	if got := r.gateway.replies(); len(got) != 0 {
		t.Fatalf("a reply left that is not stored: %+v", got)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(1)[0]; got.MessageID != id || len(got.Text) != 100_000 {
		t.Errorf("reply of %d bytes", len(got.Text))
	}
	if n := len(r.model.asked()); n != 1 {
		t.Errorf("the model was asked %d times", n)
	}
	r.stop()
}

// TestDiskFullWithinATurn: a round whose effects cannot be stored waits until they
// can; the model is not asked for it again.
func TestDiskFullWithinATurn(t *testing.T) {
	r, ballast := smallDisk(t)
	r.model.complete = func(_ context.Context, q llm.Request, _ func(string)) (llm.Response, error) {
		if len(last(q).Results) > 0 {
			return say("done"), nil
		}
		fill(t, ballast)
		asked := call("c1", "remember", `{"text":"milk"}`)
		asked.Text = strings.Repeat("long ", 20_000)
		return asked, nil
	}
	r.forgetful = true
	r.start()
	r.send("s", "hello")
	r.until("the disk is full", func() bool { return r.store.Stats().LastError != nil })
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(1)[0]; got.State != bus.StateAnswered || got.Text != "done" {
		t.Errorf("reply: %+v", got)
	}
	if n := len(r.model.asked()); n != 2 {
		t.Errorf("the model was asked %d times", n)
	}
	if n := r.number(`SELECT count(*) FROM fact`); n != 1 {
		t.Errorf("%d facts", n)
	}
	r.stop()
}

// smallDisk is a rig, not yet started, whose database has little space, and the
// path for what fills it.
func smallDisk(t *testing.T) (r *rig, ballast string) {
	t.Helper()
	r = newRig(t, nil)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); errors.Is(err, os.ErrPermission) {
		t.Skip("mounting a small file system is not permitted: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	r.path = filepath.Join(dir, "blufio.db")
	return r, filepath.Join(dir, "ballast")
}

// fill takes all space that is left for path.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Error(err)
			return
		}
	}
}
