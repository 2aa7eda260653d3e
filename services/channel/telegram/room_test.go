// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
)

// A text comes in with its chat as owner and its id as key; the reply goes out.
func TestTextInReplyOut(t *testing.T) {
	r := newRig(t).start()
	id := r.fake.Say(ann, "hello")
	got := r.wait(1)[0]
	if got.Channel != "telegram" || got.Owner != fmt.Sprint(ann) || got.Session != "" || got.Text != "hello" || got.ExternalID != fmt.Sprintf("%d:%d", ann, id) {
		t.Errorf("handed over %+v", got)
	}
	r.confirmed()
	r.until("typing is shown", func() bool { return len(r.fake.Requests("sendChatAction")) > 1 })
	r.mustDeliver(reply("m1", "**Hi** Ann"))
	m := r.fake.Chat(ann)
	if len(m) != 1 || m[0].Text != "<b>Hi</b> Ann" || m[0].Plain != "Hi Ann" {
		t.Errorf("sent %+v", m)
	}
	if c := r.room.Door().Channel(); c.State != bus.Healthy || c.LastSuccess == nil {
		t.Errorf("channel %+v", c)
	}
	r.mustDeliver(reply("m1", "**Hi** Ann"))
	if n := len(r.fake.Chat(ann)); n != 1 {
		t.Errorf("a repeated delivery sent it again: %d messages", n)
	}
}

// Nothing is confirmed and nothing skipped while the agent is busy; the order of a
// chat holds, and a repeated update is no second message.
func TestNothingIsSkippedWhileTheAgentIsBusy(t *testing.T) {
	r := newRig(t)
	r.inbox.set(func(n int, m bus.Message) error {
		if n < 4 {
			return []error{bus.Errorf(bus.CodeBusy, "full"), bus.Errorf(bus.CodeUnavailable, "disk full"), bus.Errorf(bus.CodeTimeout, "slow")}[n-1]
		}
		if unconfirmed := r.fake.Unconfirmed(); m.Text == "one" && unconfirmed < 3 {
			t.Errorf("%d updates left before the first was accepted", unconfirmed)
		}
		return nil
	})
	for _, text := range []string{"one", "two", "three"} {
		r.fake.Say(ann, text)
	}
	r.start()
	got := r.wait(3)
	for i, text := range []string{"one", "two", "three"} {
		if got[i].Text != text {
			t.Errorf("message %d is %q", i, got[i].Text)
		}
	}
	r.confirmed()
}

// The room stops between the acceptance and the confirmation: the update comes
// again and is not a second message.
func TestUpdateThatComesAgainIsNoSecondMessage(t *testing.T) {
	r := newRig(t)
	stopped := make(chan struct{})
	r.inbox.set(func(n int, m bus.Message) error {
		if m.Text == "two" {
			select {
			case <-stopped:
			default:
				return bus.Errorf(bus.CodeBusy, "full")
			}
		}
		return nil
	})
	r.fake.Say(ann, "one")
	r.fake.Say(ann, "two")
	r.start()
	r.wait(1)
	if n := r.fake.Unconfirmed(); n != 2 {
		t.Fatalf("%d updates are unconfirmed, want both", n)
	}
	r.stop()
	close(stopped)
	r.restart()
	if got := r.wait(2); got[1].Text != "two" {
		t.Errorf("got %+v", got)
	}
	r.confirmed()
	if n := len(r.wait(2)); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// What can never be accepted is answered with the reason and confirmed.
func TestRefusedUpdatesAreAnsweredAndConfirmed(t *testing.T) {
	r := newRig(t)
	r.inbox.set(func(_ int, m bus.Message) error {
		switch m.Text {
		case "long":
			return bus.Errorf(bus.CodeTooLarge, "the text has 9 bytes; at most 3 are taken").WithHint("send it in parts")
		case "poison":
			return bus.Errorf(bus.CodeInternal, "agent could not answer msg.receive")
		}
		return nil
	})
	r.start()
	r.fake.Say(ann, "long")
	r.fake.Say(ann, "poison")
	r.fake.Send(map[string]any{"location": map[string]any{"latitude": 1.5}, "chat": map[string]any{"id": int64(ann), "type": "private"}, "from": map[string]any{"id": int64(ann)}})
	r.fake.Push(map[string]any{"message": map[string]any{"message_id": "not a number"}})
	r.fake.Push(map[string]any{"poll": map[string]any{}})
	r.fake.Say(ann, "fine")
	r.wait(1)
	r.confirmed()
	texts := strings.Join(r.texts(ann), "\n")
	for _, want := range []string{"at most 3 are taken. (send it in parts)", "agent could not answer", "I cannot read this kind of message"} {
		if !strings.Contains(texts, want) {
			t.Errorf("%q is not among\n%s", want, texts)
		}
	}
}

// Nobody but those on the list; the others are told once an hour, counted, and
// told of as an event. Nothing of theirs reaches the agent.
func TestOnlyTheAllowed(t *testing.T) {
	r := newRig(t)
	r.start()
	for range 3 {
		r.fake.Say(666, "let me in")
	}
	r.confirmed()
	r.until("the stranger is told", func() bool { return len(r.fake.Chat(666)) == 1 })
	if text := r.texts(666)[0]; !strings.Contains(text, "allow = [666]") {
		t.Errorf("told %q", text)
	}
	bustest.Eventually(t, "the refusal is an event", func() bool {
		n := int64(0)
		for _, f := range facts(r, bus.AccessDenied) {
			n += f.Count
			if f.Where != "telegram" || f.Reason != "not_allowed" {
				t.Errorf("fact %+v", f)
			}
		}
		return n > 0
	})
	r.clock.add(61 * time.Minute)
	r.fake.Say(666, "and now?")
	r.until("the stranger is told again", func() bool { return len(r.fake.Chat(666)) == 2 })
	r.fake.Say(ann, "hello")
	if got := r.wait(1); got[0].Text != "hello" {
		t.Errorf("a stranger's message was handed over: %+v", got)
	}
}

// Groups: mentions, replies to the bot and commands; topics are sessions.
func TestGroups(t *testing.T) {
	r := newRig(t).start()
	r.fake.Send(group("just talking", nil))
	r.fake.Send(group("/other@another_bot x", nil))
	r.fake.Send(group("@fake_bot what is up?", nil))
	r.fake.Send(group("/cost@fake_bot now", nil))
	r.fake.Send(group("in a topic, @Fake_Bot", map[string]any{"message_thread_id": int64(77), "is_topic_message": true}))
	r.fake.Send(group("yes", map[string]any{"reply_to_message": map[string]any{"message_id": int64(5), "text": "Shall I?", "chat": map[string]any{"id": int64(-500), "type": "supergroup"},
		"from": map[string]any{"id": int64(fakebot.ID), "is_bot": true}}}))
	r.confirmed()
	want := []string{"what is up?", "/cost now", "in a topic, @Fake_Bot", "[in reply to: Shall I?]\nyes"}
	for i, m := range r.wait(4) {
		if m.Text != want[i] || m.Owner != "-500" || (m.Session == "topic-77") != (i == 2) {
			t.Errorf("message %d: %+v, want %q", i, m, want[i])
		}
	}
	rep := reply("m3", "here")
	rep.Owner, rep.Session = "-500", "topic-77"
	r.mustDeliver(rep)
	if m := r.fake.Chat(-500); len(m) != 1 || m[0].Thread != 77 {
		t.Errorf("sent %+v", m)
	}
	r.fake.Move(-500, -100500)
	rep.Key, rep.MessageID = "m4", "m4"
	r.mustDeliver(rep)
	if m := r.fake.Chat(-100500); len(m) != 1 {
		t.Errorf("after the move %+v", m)
	}
	r.restart()
	m := group("@fake_bot moved", nil)
	m["chat"] = map[string]any{"id": int64(-100500), "type": "supergroup"}
	r.fake.Send(m)
	if got := r.wait(5)[4]; got.Owner != "-500" {
		t.Errorf("a moved group begins a new session: %+v", got)
	}
}

// An edit is a new message that says so.
func TestEdits(t *testing.T) {
	r := newRig(t).start()
	id := r.fake.Say(ann, "helo")
	r.wait(1)
	r.fake.Edit(map[string]any{"message_id": id, "edit_date": int64(1900000000), "text": "hello", "chat": map[string]any{"id": int64(ann), "type": "private"}, "from": map[string]any{"id": int64(ann)}})
	got := r.wait(2)[1]
	if !strings.HasSuffix(got.Text, "\nhello") || !strings.Contains(got.Text, "edited") || !strings.HasPrefix(got.ExternalID, fmt.Sprintf("%d:%d:1900000000:", ann, id)) {
		t.Errorf("edit %+v", got)
	}
}

// Files are kept and named in the message; what is too large or cannot be fetched is
// told.
func TestFiles(t *testing.T) {
	r := newRig(t)
	r.cfg.MaxFileBytes = 200_000
	r.start()
	private := func(more map[string]any) map[string]any {
		m := map[string]any{"chat": map[string]any{"id": int64(ann), "type": "private"}, "from": map[string]any{"id": int64(ann)}}
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	data := []byte(strings.Repeat("picture ", 20_000))
	photo := r.fake.File("p", data)
	r.fake.Fail("file", fakebot.Fault{Code: 502}, fakebot.Fault{Cut: true})
	r.fake.Send(private(map[string]any{"caption": "look", "photo": []map[string]any{{"file_id": "small", "file_size": 10},
		{"file_id": photo, "file_size": len(data)}, {"file_id": "huge", "file_size": 9_000_000}}}))
	got := r.wait(1)[0]
	if got.Text != "look" || len(got.Attachments) != 1 || got.Attachments[0].Kind != bus.KindImage || got.Attachments[0].MediaType != "image/jpeg" || got.Attachments[0].Bytes != int64(len(data)) {
		t.Fatalf("handed over %+v", got)
	}
	kept, err := r.blobs.Read(t.Context(), got.Attachments[0].ID, 1<<20)
	if err != nil || string(kept) != string(data) {
		t.Errorf("kept %d bytes: %v", len(kept), err)
	}
	r.fake.Send(private(map[string]any{"document": map[string]any{"file_id": r.fake.File("d", []byte("# hi")), "file_name": "../a/b.md", "mime_type": "text/markdown"}}))
	if a := r.wait(2)[1]; a.Text != "" || a.Attachments[0].Name != "b.md" || a.Attachments[0].MediaType != "text/markdown" || a.Attachments[0].Kind != bus.KindDocument {
		t.Errorf("document %+v", a)
	}
	r.fake.Send(private(map[string]any{"voice": map[string]any{"file_id": r.fake.File("v", []byte("ogg")), "mime_type": "audio/ogg"}}))
	if a := r.wait(3)[2]; a.Attachments[0].Kind != bus.KindAudio {
		t.Errorf("voice %+v", a)
	}
	r.fake.Send(private(map[string]any{"document": map[string]any{"file_id": "x", "file_name": "big.zip", "file_size": 900_000}}))
	r.fake.Send(private(map[string]any{"document": map[string]any{"file_id": r.fake.File("l", make([]byte, 300_000)), "file_name": "liar.bin", "file_size": 5}}))
	r.fake.Send(private(map[string]any{"document": map[string]any{"file_id": "gone", "file_name": "gone.txt"}}))
	r.confirmed()
	texts := strings.Join(r.texts(ann), "\n")
	for _, want := range []string{"big.zip has 879 KiB, and I take at most 196 KiB", "liar.bin", "could not fetch the file gone.txt"} {
		if !strings.Contains(texts, want) {
			t.Errorf("%q is not among\n%s", want, texts)
		}
	}
}

// Without a token the room is there, off and healthy; replies are refused, not lost.
func TestOffWithoutAToken(t *testing.T) {
	r := newRig(t)
	r.cfg.BotToken = config.Secret{}
	r.start()
	if c := r.room.Door().Channel(); c.State != bus.Stopped || problem(r) != "" {
		t.Errorf("channel %+v, problems %q", c, problem(r))
	}
	if err := r.deliver(reply("m1", "x")); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Error(err)
	}
	if n := len(r.fake.Requests("")); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*telegram.Config){
		"token":     func(c *telegram.Config) { c.BotToken = config.NewSecret("secret-but-wrong") },
		"plaintext": func(c *telegram.Config) { c.APIURL = "http://example.com" },
		"url":       func(c *telegram.Config) { c.APIURL = "api.telegram.org" },
	} {
		cfg := telegram.Defaults()
		change(&cfg)
		var said string
		cfg.Check(func(key, message, hint string) { said += key + message + hint })
		if said == "" || strings.Contains(said, "secret-but-wrong") {
			t.Errorf("%s: %q", name, said)
		}
	}
}
