// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
)

const eve = 77 // on no list

func says(person, chat int64, kind, text string, more map[string]any) map[string]any {
	m := map[string]any{"text": text, "chat": map[string]any{"id": chat, "type": kind}, "from": map[string]any{"id": person, "first_name": "Eve"}}
	for k, v := range more {
		m[k] = v
	}
	return m
}

// A group on the list stays there when it becomes a supergroup, whichever of the
// two chats tells of it, and after a restart; its session goes on.
func TestListedGroupStaysListed(t *testing.T) {
	for name, news := range map[string]map[string]any{
		"old chat": says(eve, -5, "group", "", map[string]any{"migrate_to_chat_id": int64(-1005)}),
		"new chat": says(eve, -1005, "supergroup", "", map[string]any{"migrate_from_chat_id": int64(-5)}),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.cfg.Allow = []int64{-5}
			r.start()
			r.fake.Send(news)
			for n := range 2 {
				r.fake.Send(says(eve, -1005, "supergroup", "@"+fakebot.Username+" hello", nil))
				if got := r.wait(n + 1)[n]; got.Owner != "-5" {
					t.Errorf("handed over %+v", got)
				}
				r.confirmed()
				r.restart()
			}
		})
	}
}

// What other people's groups become is not remembered; what a group becomes in
// which somebody from the list has spoken is, whoever made it one.
func TestOnlyOurGroupsMove(t *testing.T) {
	r := newRig(t).start()
	moves := func() (n int) {
		if err := r.store.QueryRow(t.Context(), `SELECT count(*) FROM telegram_moved`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for n := range int64(20) {
		r.fake.Send(says(eve, -10-n, "group", "", map[string]any{"migrate_to_chat_id": -1010 - n}))
		r.fake.Send(says(eve, -2000-n, "supergroup", "", map[string]any{"migrate_from_chat_id": -200 - n}))
	}
	r.confirmed()
	if n := moves(); n != 0 {
		t.Errorf("%d groups of strangers are remembered", n)
	}
	r.fake.Send(says(ann, -7, "group", "just talking", nil))
	r.fake.Send(says(eve, -7, "group", "", map[string]any{"migrate_to_chat_id": int64(-1007)}))
	r.fake.Send(says(ann, -1007, "supergroup", "@"+fakebot.Username+" hello", nil))
	if got := r.wait(1)[0]; got.Owner != "-7" || moves() != 1 {
		t.Errorf("%d moves, and handed over %+v", moves(), got)
	}
}

// A move that cannot be noted keeps its page from being confirmed.
func TestMoveIsNotedBeforeItIsConfirmed(t *testing.T) {
	r := newRig(t)
	r.cfg.Allow = []int64{-5}
	r.start()
	r.sql(`CREATE TRIGGER full BEFORE INSERT ON telegram_moved BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
	before := len(r.fake.Requests("getUpdates"))
	r.fake.Send(says(eve, -5, "group", "", map[string]any{"migrate_to_chat_id": int64(-1005)}))
	r.until("it is asked for again", func() bool { return len(r.fake.Requests("getUpdates")) > before+2 })
	if n := r.fake.Unconfirmed(); n != 1 {
		t.Errorf("%d updates are unconfirmed", n)
	}
	r.sql(`DROP TRIGGER full`)
	r.confirmed()
}

// Ids that begin anew below the old ones lose nothing: neither what is there while
// the last of the new is handed over, nor what comes later.
func TestUpdateIDsBeginAnew(t *testing.T) {
	r := newRig(t)
	push := func(id int64, text string) {
		m := says(ann, ann, "private", text, map[string]any{"message_id": id, "date": int64(1900000000)})
		r.fake.Push(map[string]any{"update_id": id, "message": m})
	}
	r.inbox.set(func(n int, m bus.Message) error {
		if m.Text == "two" && n == 2 {
			push(6, "three")
		}
		return nil
	})
	r.start()
	push(9000, "one")
	r.wait(1)
	r.confirmed()
	push(5, "two")
	r.wait(3)
	r.confirmed()
	var texts []string
	for _, m := range r.wait(3) {
		texts = append(texts, m.Text)
	}
	if !slices.Equal(texts, []string{"one", "two", "three"}) {
		t.Errorf("accepted %q", texts)
	}
}

// Once all is confirmed, or Telegram was away for longer than it keeps anything, the old
// offset is asked for no more: it would confirm lower ids unseen.
func TestOffsetIsNotKept(t *testing.T) {
	r := newRig(t)
	r.cfg.PollTimeout = time.Second
	r.start()
	offset := func() int64 { all := r.fake.Requests("getUpdates"); return all[len(all)-1].Int("offset") }
	r.fake.Say(ann, "one")
	r.confirmed()
	r.until("an empty page has come", func() bool { return offset() > 0 })
	r.until("the offset is given up", func() bool { return offset() == 0 })

	r.fake.Fail("getUpdates", slices.Repeat([]fakebot.Fault{{Code: 502}}, 10_000)...)
	bustest.Eventually(t, "Telegram is away", func() bool { return r.room.Door().Channel().LastError != nil })
	r.clock.add(25 * time.Hour)
	failed := len(r.fake.Requests("getUpdates"))
	r.until("it is asked again", func() bool { return len(r.fake.Requests("getUpdates")) > failed+2 })
	if got := offset(); got != 0 {
		t.Errorf("after a day it asks behind %d", got)
	}
}

// An answer without anything to see is said as it was written, or that it is empty.
func TestAnswerWithoutVisibleText(t *testing.T) {
	r := newRig(t).start()
	for n, c := range []struct{ text, want string }{
		{"```\n```", "```\n```"}, {"```go\n\n```", "```go\n\n```"}, {"> ", ">"}, {"#  #", "#  #"},
		{"\x01", "(The answer is empty.)"}, {" \n", "(The answer is empty.)"}, {"\u200b\u2060", "(The answer is empty.)"},
	} {
		r.mustDeliver(reply(fmt.Sprint("m", n), c.text))
		if got := r.texts(ann); len(got) != n+1 || got[n] != c.want {
			t.Errorf("%q is said as %q", c.text, got)
		}
	}
}

// What Telegram will refuse every time is not to be tried again.
func TestFinalRefusals(t *testing.T) {
	r := newRig(t).start()
	for _, words := range []string{"TOPIC_CLOSED", "CHAT_WRITE_FORBIDDEN", "message text is empty", "group chat was deactivated", "user is deactivated",
		"not enough rights to send text messages to the chat", "bot was kicked from the supergroup chat", "chat not found"} {
		r.fake.Fail("sendMessage", fakebot.Fault{Code: 400, Description: "Bad Request: " + words})
		if err := r.deliver(reply("m-"+strings.Fields(words)[0]+words[len(words)-3:], "x")); bus.CodeOf(err) != bus.CodeDenied || bus.Retryable(err) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

// An agent that is busy for a moment is asked again; one that wants to be left alone
// for longer holds up nobody: the person is told, and other chats go on.
func TestLongBusyIsTold(t *testing.T) {
	r := newRig(t)
	r.cfg.Allow = []int64{ann, eve}
	short := 0
	r.inbox.set(func(_ int, m bus.Message) error {
		e := &bus.Error{Code: bus.CodeBusy, Message: "busy: memory is short", Hint: "try again in a moment", RetryAfter: 30 * time.Second}
		if m.Owner == fmt.Sprint(eve) {
			return e
		}
		if short++; short < 3 {
			e.RetryAfter = 2 * time.Second
			return e
		}
		return nil
	})
	r.start()
	r.fake.Send(says(eve, eve, "private", "let me in", nil))
	r.fake.Send(says(ann, ann, "private", "hello", nil))
	if got := r.wait(1)[0]; got.Text != "hello" {
		t.Errorf("accepted %+v", got)
	}
	r.confirmed()
	r.until("the person is told", func() bool { return len(r.fake.Chat(eve)) == 1 })
	if got := r.texts(eve)[0]; !strings.Contains(got, "memory is short") || !strings.Contains(got, "try again in a moment") {
		t.Errorf("told %q", got)
	}
	r.inbox.set(nil)
	r.fake.Send(says(eve, eve, "private", "let me in", nil))
	r.wait(2)
}
