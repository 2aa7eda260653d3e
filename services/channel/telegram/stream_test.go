// SPDX-License-Identifier: MIT OR Apache-2.0

package telegram_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/prometheus/client_golang/prometheus"
)

// gauge reads one of the room's metrics.
func (r *rig) gauge(name string) float64 {
	r.t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.room.Door().Metrics...)
	families, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	r.t.Fatalf("there is no %s", name)
	return 0
}

// Answers beyond the bound of those that are shown come whole.
func TestDraftsAreBounded(t *testing.T) {
	r := newRig(t).start()
	limit := int(r.gauge("blufio_telegram_drafts_limit"))
	for n := range limit {
		r.delta(fmt.Sprint("m", n), 1, 0, 0, "half")
	}
	r.until("all are shown", func() bool { return len(r.fake.Chat(ann)) == limit })
	r.delta("more", 1, 0, 0, "half of one more")
	r.delta("m0", 1, 0, 1, " and the rest") // heard after it
	r.until("the first goes on", func() bool { return slices.Contains(r.texts(ann), "half and the rest") })
	if n, got := r.gauge("blufio_telegram_drafts"), len(r.fake.Chat(ann)); int(n) != limit || got != limit || limit != 64 {
		t.Errorf("%v drafts, %d messages", n, got)
	}
	r.mustDeliver(reply("more", "one more, whole"))
	if got := r.texts(ann); got[len(got)-1] != "one more, whole" {
		t.Errorf("the last message is %q", got[len(got)-1])
	}
}

func (r *rig) shows(text string) {
	r.t.Helper()
	r.until("the chat shows "+text, func() bool { got := r.texts(ann); return len(got) > 0 && got[len(got)-1] == text })
}

// The first words are sent at once, edits follow, the reply is the last of them,
// and all of it is one message.
func TestAnswerIsShownWhileItIsMade(t *testing.T) {
	r := newRig(t).start()
	r.delta("m1", 1, 0, 0, "The **first")
	r.shows("The **first")
	r.delta("m1", 1, 0, 1, " words** and")
	r.shows("The first words and")
	r.mustDeliver(reply("m1", "The **first words** and the last."))
	r.shows("The first words and the last.")
	if n := len(r.fake.Chat(ann)); n != 1 {
		t.Errorf("%d messages", n)
	}
	r.delta("m1", 1, 0, 2, "late")
	r.mustDeliver(reply("m2", "another"))
	if got := r.texts(ann); len(got) != 2 || got[0] != "The first words and the last." {
		t.Errorf("a late piece changed %q", got)
	}
}

// After a restart in the middle, the same message goes on; a higher attempt begins
// the text anew, and so does a higher round; what was lost is left out.
func TestResumedTurnEditsTheSameMessage(t *testing.T) {
	r := newRig(t).start()
	r.delta("m1", 1, 0, 0, "half a sent")
	r.shows("half a sent")
	r.restart()
	r.delta("m1", 1, 0, 1, "ence that misses its beginning")
	r.delta("m1", 2, 0, 0, "Let me look.")
	r.shows("Let me look.")
	r.delta("m1", 2, 1, 0, "It is noon")
	r.shows("It is noon")
	r.delta("m1", 2, 0, 1, "late piece of the round before")
	r.delta("m1", 2, 1, 2, "!!")
	r.restart()
	r.mustDeliver(reply("m1", "It is noon."))
	if m := r.fake.Chat(ann); len(m) != 1 || m[0].Plain != "It is noon." {
		t.Errorf("the chat is %+v", m)
	}
}

// Turns of two messages in one chat never mix.
func TestTurnsDoNotMix(t *testing.T) {
	r := newRig(t).start()
	for n := range 20 {
		r.delta("a", 1, 0, n, "a")
		r.delta("b", 1, 0, n, "b")
	}
	r.mustDeliver(reply("b", strings.Repeat("b", 20)))
	r.mustDeliver(reply("a", strings.Repeat("a", 20)))
	for _, text := range r.texts(ann) {
		if strings.Trim(text, "a") != "" && strings.Trim(text, "b") != "" {
			t.Errorf("mixed: %q", text)
		}
	}
	if n := len(r.fake.Chat(ann)); n > 2 {
		t.Errorf("%d messages", n)
	}
}

// A long answer grows over several messages while it is made; a shorter reply
// takes back what is too much.
func TestLongDraftAndShorterReply(t *testing.T) {
	r := newRig(t).start()
	long := strings.Repeat("word ", 1200)
	r.delta("m1", 1, 0, 0, long)
	r.until("two messages are shown", func() bool { return len(r.fake.Chat(ann)) == 2 })
	r.mustDeliver(reply("m1", "short"))
	if got := r.texts(ann); len(got) != 1 || got[0] != "short" {
		t.Errorf("the chat is %q", got)
	}
}

// A delivery that breaks off in the middle goes on where it was.
func TestInterruptedDeliveryGoesOn(t *testing.T) {
	r := newRig(t).start()
	text := strings.Repeat(strings.Repeat("x", 3000)+"\n", 4)
	r.fake.Fail("sendMessage", fakebot.Fault{Code: 502}, fakebot.Fault{Code: 500, Description: "Internal Server Error"})
	if err := r.deliver(reply("m1", text)); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Fatalf("first: %v", err)
	}
	if err := r.deliver(reply("m1", text)); bus.CodeOf(err) != bus.CodeUnavailable {
		t.Fatalf("second: %v", err)
	}
	r.restart()
	r.mustDeliver(reply("m1", text))
	r.restart()
	r.mustDeliver(reply("m1", text))
	if got := r.texts(ann); len(got) != 4 {
		t.Errorf("%d messages", len(got))
	}
}

// A connection that is cut after Telegram has accepted is the one way to a double.
func TestCutConnection(t *testing.T) {
	r := newRig(t).start()
	r.fake.Fail("sendMessage", fakebot.Fault{Cut: true, After: true})
	err := r.deliver(reply("m1", "once"))
	if bus.CodeOf(err) != bus.CodeUnavailable || strings.Contains(err.Error(), r.fake.Token()) {
		t.Fatalf("got %v", err)
	}
	r.mustDeliver(reply("m1", "once"))
	if n := len(r.fake.Chat(ann)); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// Too fast: slower, and the reply is not lost. Not modified: fine. Gone: sent anew.
// Tags that Telegram does not read: plain.
func TestRefusalsOfTelegram(t *testing.T) {
	r := newRig(t).start()
	r.delta("m1", 1, 0, 0, "draft")
	r.shows("draft")
	r.fake.Fail("editMessageText", fakebot.Fault{Code: 429, Description: "Too Many Requests: retry after 1", RetryAfter: 1})
	r.mustDeliver(reply("m1", "final"))
	r.shows("final")

	r.delta("m2", 1, 0, 0, "same")
	r.shows("same")
	r.restart()
	r.mustDeliver(reply("m2", "same")) // an edit that changes nothing
	r.delta("m3", 1, 0, 0, "will vanish")
	r.shows("will vanish")
	chat := r.fake.Chat(ann)
	r.fake.Forget(ann, chat[len(chat)-1].ID)
	r.mustDeliver(reply("m3", "after all"))
	r.shows("after all")
	r.fake.Fail("sendMessage", fakebot.Fault{Code: 400, Description: "Bad Request: can't parse entities: Unsupported start tag"})
	r.mustDeliver(reply("m4", "**bold** <tag>"))
	r.shows("bold <tag>")
	if n := len(r.fake.Chat(ann)); n != 4 {
		t.Errorf("%d messages: %q", n, r.texts(ann))
	}
	for _, c := range []struct {
		fault fakebot.Fault
		want  bus.Code
	}{
		{fakebot.Fault{Code: 403, Description: "Forbidden: bot was blocked by the user"}, bus.CodeDenied},
		{fakebot.Fault{Code: 400, Description: "Bad Request: chat not found"}, bus.CodeDenied},
		{fakebot.Fault{Code: 429, Description: "Too Many Requests", RetryAfter: 3600}, bus.CodeBusy},
	} {
		r.fake.Fail("sendMessage", c.fault)
		err := r.deliver(reply("m-"+fmt.Sprint(c.fault.Code, c.fault.RetryAfter, c.want, c.fault.Description[:5]), "x"))
		var e *bus.Error
		if bus.CodeOf(err) != c.want || c.want == bus.CodeBusy && (!errors.As(err, &e) || e.RetryAfter < time.Minute) {
			t.Errorf("%+v gives %v", c.fault, err)
		}
	}
}

// Trouble with polling is seen after a minute, told once as an event, and over
// when a poll succeeds. The token is nowhere in it.
func TestTroubleIsSeen(t *testing.T) {
	for _, c := range []struct {
		name, problem string
		begin, end    func(r *rig)
		fault         fakebot.Fault
	}{
		{name: "server", problem: "telegram_down", fault: fakebot.Fault{Code: 502, HTML: true, Description: "Bad Gateway"}},
		{name: "cut", problem: "telegram_down", fault: fakebot.Fault{Cut: true}},
		{name: "other poller", problem: "telegram_conflict", fault: fakebot.Fault{Code: 409, Description: "Conflict: terminated by other getUpdates request"}},
		{name: "webhook", problem: "telegram_webhook", begin: func(r *rig) { r.fake.SetWebhook(true) }, end: func(r *rig) { r.fake.SetWebhook(false) }},
		{name: "token", problem: "telegram_token", begin: func(r *rig) { r.fake.SetToken("1:another-one") }, end: func(r *rig) { r.fake.SetToken(r.cfg.BotToken.Reveal()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			if c.begin != nil {
				c.begin(r)
			} else {
				many := make([]fakebot.Fault, 5000)
				for i := range many {
					many[i] = c.fault
				}
				r.fake.Fail("getUpdates", many...)
			}
			r.start()
			failed := func() bool { return r.room.Door().Channel().LastError != nil }
			bustest.Eventually(t, "a poll failed", failed)
			if c.problem != "telegram_token" && problem(r) != "" {
				t.Errorf("at once: %s", problem(r))
			}
			r.clock.add(61 * time.Second)
			bustest.Eventually(t, "the problem is seen", func() bool { return problem(r) == c.problem })
			bustest.Eventually(t, "an event tells it", func() bool { return len(facts(r, bus.ChannelDown)) == 1 })
			if s := r.room.Door().Channel().State; s != bus.Degraded {
				t.Errorf("state %s", s)
			}
			r.fake.Heal()
			if c.end != nil {
				c.end(r)
			}
			r.fake.Say(ann, "hello")
			r.wait(1)
			r.clock.add(3 * time.Minute)
			bustest.Eventually(t, "another event tells that it is over", func() bool { return len(facts(r, bus.ChannelUp)) == 1 })
			if problem(r) != "" || r.room.Door().Channel().State != bus.Healthy {
				t.Errorf("afterwards: %q, %+v", problem(r), r.room.Door().Channel())
			}
			r.stop()
			all := r.logged.String() + fmt.Sprint(facts(r, bus.ChannelDown))
			if strings.Contains(all, strings.SplitN(r.cfg.BotToken.Reveal(), ":", 2)[1]) {
				t.Error("the token is in the log or an event")
			}
		})
	}
}
