// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/internal/sqlite"
)

func (r *rig) sql(statement string) {
	r.t.Helper()
	if err := r.store.Write(r.t.Context(), func(tx *sqlite.Tx) error { _, err := tx.Exec(statement); return err }); err != nil {
		r.t.Fatal(err)
	}
}

// fill lets no more be noted, as a full disk does, until what it returns is called.
func (r *rig) fill() (free func()) {
	r.t.Helper()
	r.sql(`CREATE TRIGGER full BEFORE INSERT ON telegram_sent BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
	return func() { r.t.Helper(); r.sql(`DROP TRIGGER full`) }
}

// deliverFor gives a delivery less time than the agent does.
func (r *rig) deliverFor(d time.Duration, rep bus.Reply) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	_, err := r.room.Deliver(ctx, rep)
	return err
}

func anew(id, text string, retries int) bus.Reply {
	rep := reply(id, text)
	rep.Key += fmt.Sprintf(".%d", retries)
	return rep
}

// A message that was a dead letter and is answered after all has two replies.
func TestAnswerAfterADeadLetterIsSent(t *testing.T) {
	r := newRig(t).start()
	r.mustDeliver(reply("m1", "I could not answer this message."))
	r.mustDeliver(anew("m1", "The answer at last.", 1))
	r.mustDeliver(anew("m1", "The answer at last.", 1))
	r.mustDeliver(anew("m1", "And another.", 2))
	if got := r.texts(ann); !slices.Equal(got, []string{"I could not answer this message.", "The answer at last.", "And another."}) {
		t.Errorf("the chat is %q", got)
	}
}

// When the first reply never came out, the draft is the later one's.
func TestDraftBelongsToTheReplyThatComes(t *testing.T) {
	r := newRig(t).start()
	r.delta("m1", 1, 0, 0, strings.Repeat("half ", 1200))
	r.until("two messages are shown", func() bool { return len(r.fake.Chat(ann)) == 2 })
	r.restart()
	r.mustDeliver(anew("m1", "whole", 1))
	if got := r.texts(ann); !slices.Equal(got, []string{"whole"}) {
		t.Errorf("the chat is %q", got)
	}
}

// An answer that no reply comes for gives its slot back.
func TestDraftsWithoutAReplyEnd(t *testing.T) {
	r := newRig(t).start()
	for n := range 64 {
		r.delta(fmt.Sprint("quiet", n), 1, 0, 0, "hm")
		r.until("it is shown", func() bool { return len(r.fake.Chat(ann)) == n+1 })
	}
	r.delta("m1", 1, 0, 0, "one too many")
	r.delta("quiet63", 1, 0, 1, " yes") // pieces are heard in their order: the one before is heard when this is shown
	r.until("the next piece is shown", func() bool { return slices.Contains(r.texts(ann), "hm yes") })
	r.clock.add(16 * time.Minute)
	bustest.Eventually(t, "a draft is shown again", func() bool {
		r.delta("m2", 1, 0, 0, "a real answer")
		got := r.texts(ann)
		return got[len(got)-1] == "a real answer"
	})
	if got := r.texts(ann); slices.Contains(got, "one too many") {
		t.Error("more are shown than the bound allows")
	}
}

// A draft that Telegram does not want ends as well.
func TestRefusedDraftEnds(t *testing.T) {
	r := newRig(t).start()
	r.fake.Fail("sendMessage", fakebot.Fault{Code: 403, Description: "Forbidden: bot was blocked by the user"})
	r.delta("m1", 1, 0, 0, "not wanted")
	bustest.Eventually(t, "another attempt is shown", func() bool {
		r.delta("m1", 2, 0, 0, "wanted")
		return slices.Equal(r.texts(ann), []string{"wanted"})
	})
}

// The rest of a draft that is too long for its reply goes, however long Telegram
// takes: the delivery is not over before.
func TestRestOfADraftGoes(t *testing.T) {
	r := newRig(t).start()
	for name, fault := range map[string]fakebot.Fault{
		"too many": {Code: 429, Description: "Too Many Requests: retry after 1", RetryAfter: 1},
		"broken":   {Code: 502},
	} {
		r.delta(name, 1, 0, 0, strings.Repeat("word ", 1200))
		before := len(r.fake.Chat(ann))
		r.until("two messages are shown", func() bool { return len(r.fake.Chat(ann)) == before+2 })
		r.fake.Fail("deleteMessage", fault)
		bustest.Eventually(t, "it is delivered", func() bool { return r.deliver(reply(name, "Stopped.")) == nil })
		if got := r.texts(ann); len(got) != before+1 || got[before] != "Stopped." {
			t.Errorf("%s: the chat has %d messages", name, len(got))
		}
	}
}

// With a full disk the room ends all the same.
func TestStopWithAFullDisk(t *testing.T) {
	r := newRig(t).start()
	free := r.fill()
	r.delta("m1", 1, 0, 0, "draft")
	r.shows("draft")
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	ctx, cancel := r.patience()
	defer cancel()
	select {
	case <-stopped:
	case <-ctx.Done():
		free()
		t.Fatal("the room does not end")
	}
}

// Nothing stands there twice after a full disk: neither a draft beside its reply,
// nor a reply that could not be noted.
func TestFullDiskDoublesNothing(t *testing.T) {
	r := newRig(t).start()
	free := r.fill()
	r.delta("m1", 1, 0, 0, "draft")
	r.shows("draft")
	for range 2 {
		if err := r.deliverFor(200*time.Millisecond, reply("m1", "the answer")); !bus.Retryable(err) {
			t.Errorf("a draft that is not noted: %v", err)
		}
	}
	if err := r.deliverFor(1500*time.Millisecond, reply("m2", "another")); !bus.Retryable(err) {
		t.Errorf("a reply that is not noted: %v", err)
	}
	for range 3 {
		if err := r.deliver(reply("m3", "not yet")); bus.CodeOf(err) != bus.CodeUnavailable {
			t.Errorf("more is sent while nothing can be noted: %v", err)
		}
	}
	free()
	for _, rep := range []bus.Reply{reply("m1", "the answer"), reply("m2", "another"), reply("m3", "not yet")} {
		bustest.Eventually(t, "it is delivered", func() bool { return r.deliver(rep) == nil })
	}
	if got := r.texts(ann); !slices.Equal(got, []string{"the answer", "another", "not yet"}) {
		t.Errorf("the chat is %q", got)
	}
}

// What was sent and cannot be noted is no more than was under way when the disk became
// full: nothing is shown or sent after it.
func TestUnnotedIsBounded(t *testing.T) {
	const begun = 5
	r := newRig(t).start()
	free := r.fill()
	var under sync.WaitGroup
	for n := range begun {
		under.Go(func() {
			if err := r.deliverFor(1500*time.Millisecond, reply(fmt.Sprint("m", n), "the answer")); !bus.Retryable(err) {
				t.Errorf("a reply that cannot be noted: %v", err)
			}
		})
	}
	under.Wait()
	for n := range 20 {
		r.delta(fmt.Sprint("late", n), 1, 0, 0, "draft")
		if err := r.deliver(reply(fmt.Sprint("new", n), "not yet")); bus.CodeOf(err) != bus.CodeUnavailable {
			t.Errorf("more is sent while nothing can be noted: %v", err)
		}
	}
	if n, sent := r.gauge("blufio_telegram_unnoted"), len(r.fake.Chat(ann)); n != begun || n > r.gauge("blufio_telegram_unnoted_limit") || sent != begun {
		t.Errorf("%v are not noted, %d were sent", n, sent)
	}
	free()
	bustest.Eventually(t, "it is delivered", func() bool { return r.deliver(reply("new0", "now")) == nil })
	if n := r.gauge("blufio_telegram_unnoted"); n != 0 {
		t.Errorf("%v are not noted afterwards", n)
	}
}

// What our own database refuses is not told as a failure of Telegram's.
func TestOurFailuresAreNotTelegrams(t *testing.T) {
	r := newRig(t).start()
	r.sql(`ALTER TABLE telegram_sent RENAME TO away`)
	if err := r.deliver(reply("m1", "the answer")); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Errorf("a reply that cannot be looked up: %v", err)
	}
	door := r.room.Door()
	if c := door.Channel(); c.LastError != nil || door.Failures["send"]() != 0 {
		t.Errorf("it is told as %q, counted %v times", *c.LastError, door.Failures["send"]())
	}
	r.sql(`ALTER TABLE away RENAME TO telegram_sent`)
	r.fake.Fail("sendMessage", fakebot.Fault{Cut: true}, fakebot.Fault{HTML: true, Code: 502})
	for range 2 {
		if err := r.deliver(reply("m3", "another")); bus.CodeOf(err) != bus.CodeUnavailable {
			t.Errorf("a reply that is not sent: %v", err)
		}
	}
	if c := door.Channel(); c.LastError == nil || door.Failures["send"]() != 2 {
		t.Errorf("what Telegram does not answer is counted %v times", door.Failures["send"]())
	}
}

// A file that our own store never takes is given up after some tries, in our own name.
func TestFileThatCannotBeKept(t *testing.T) {
	r := newRig(t).start()
	r.sql(`ALTER TABLE blob RENAME TO away`)
	r.fake.Send(map[string]any{"chat": map[string]any{"id": int64(ann), "type": "private"}, "from": map[string]any{"id": int64(ann)},
		"document": map[string]any{"file_id": r.fake.File("d", []byte("# hi")), "file_name": "b.md"}})
	r.confirmed()
	if got := r.texts(ann); len(got) != 1 || !strings.Contains(got[0], "I could not keep the file b.md") {
		t.Errorf("the person was told %q", got)
	}
	if c := r.room.Door().Channel(); c.LastError != nil {
		t.Errorf("it is told as Telegram's: %q", *c.LastError)
	}
	r.sql(`ALTER TABLE away RENAME TO blob`)
}

// Telegram does not answer when a refusal is told: that does not hold up the end, and the
// person is told after it.
func TestHungRefusalDoesNotHoldUpTheEnd(t *testing.T) {
	r := newRig(t)
	r.fake.Fail("sendMessage", fakebot.Fault{Hang: true})
	r.inbox.set(func(int, bus.Message) error { return bus.Errorf(bus.CodeTooLarge, "the text is too long") })
	r.start()
	r.fake.Say(ann, "hello")
	r.until("it is under way", func() bool { return len(r.fake.Requests("sendMessage")) == 1 })
	began := time.Now()
	r.restart()
	if took := time.Since(began); took > 10*time.Second { // a request may take 20
		t.Errorf("the end took %s", took)
	}
	r.confirmed()
	if got := r.texts(ann); len(got) != 1 {
		t.Errorf("the person was told %q", got)
	}
}

// A refusal waits until it can be told, as long as Telegram wants, also over a
// restart; only who blocked the bot is not told.
func TestRefusalIsToldBeforeItIsConfirmed(t *testing.T) {
	for name, faults := range map[string][]fakebot.Fault{
		"long silence": {{Code: 429, Description: "Too Many Requests: retry after 300", RetryAfter: 300}},
		"broken":       slices.Repeat([]fakebot.Fault{{Code: 502}}, 8),
		"blocked":      {{Code: 403, Description: "Forbidden: bot was blocked by the user"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fake.Fail("sendMessage", faults...)
			r.inbox.set(func(int, bus.Message) error { return bus.Errorf(bus.CodeTooLarge, "the text is too long") })
			r.start()
			r.fake.Say(ann, "hello")
			r.until("it was tried", func() bool { return len(r.fake.Requests("sendMessage")) == len(faults) })
			if name == "long silence" {
				r.restart() // which forgets the silence
			}
			r.confirmed()
			if got := r.texts(ann); (len(got) == 1) != (name != "blocked") {
				t.Errorf("confirmed, not accepted, and the person was told %q", got)
			}
		})
	}
}
