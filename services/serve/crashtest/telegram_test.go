// SPDX-License-Identifier: MIT OR Apache-2.0

package crashtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
)

// messenger is Telegram: a server of the Bot API in the test's process, which no
// kill touches, and the people who talk to the bot there. What a person has said is
// acknowledged at once: Telegram keeps it until the daemon has confirmed it.
type messenger struct {
	bot    *fakebot.Bot
	cancel context.CancelFunc
	ended  chan error // one of each person
}

func newMessenger(t *testing.T) *messenger { return &messenger{bot: fakebot.Start(t)} }

// config is the section of the configuration for it.
func (g *messenger) config() string {
	var people []string
	for s := speakers; s < everyone; s++ {
		people = append(people, speaker(s).owner())
	}
	return fmt.Sprintf("[telegram]\nbot_token = %q\napi_url = %q\npoll_timeout = \"1s\"\nedit_interval = \"200ms\"\nallow = [%s]\n",
		g.bot.Token(), g.bot.URL(), strings.Join(people, ", "))
}

// talk lets everybody speak until finish.
func (g *messenger) talk(t *testing.T, p plan) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	g.cancel, g.ended = cancel, make(chan error, everyone-speakers)
	for s := speakers; s < everyone; s++ {
		j, err := newJournal(p.journal(speaker(s)))
		if err != nil {
			t.Fatal(err)
		}
		go func() { g.ended <- g.speak(ctx, speaker(s), j) }()
	}
}

// speak says one thing after another; each when something new is read, or after a
// while: the reply itself may be late by some kills.
func (g *messenger) speak(ctx context.Context, s speaker, j journal) error {
	for n := 1; ; n++ {
		have := len(g.bot.Chat(s.chat()))
		g.bot.Say(s.chat(), s.text(n))
		if err := j.write(ack{Session: s.session(), N: n, Text: s.text(n)}); err != nil {
			return err
		}
		soon, cancel := context.WithTimeout(ctx, maxWaiting)
		g.bot.Wait(soon, func() bool { return len(g.bot.Chat(s.chat())) > have })
		cancel()
		if ctx.Err() != nil {
			return j.file.Close()
		}
	}
}

// finish ends it when what is under way is written down.
func (g *messenger) finish(t *testing.T) {
	t.Helper()
	g.cancel()
	for range everyone - speakers {
		if err := <-g.ended; err != nil {
			t.Error(err)
		}
	}
}

// delivered compares what people read with the daemon's history: each reply is in
// its chat. What is there beyond that was sent twice: the kill fell between
// Telegram's acceptance and the daemon's note of it, which can happen to one
// message of a chat in one kill.
func (f *findings) delivered(g *messenger) {
	for s := speaker(speakers); s < everyone; s++ {
		read := map[string]int{}
		total := 0
		for _, m := range g.bot.Chat(s.chat()) {
			read[strings.TrimSpace(m.Plain)]++
			total++
		}
		replies := 0
		for _, m := range f.messages {
			if m.speaker != s {
				continue
			}
			replies++
			if text := strings.TrimSpace(m.reply); read[text] == 0 {
				f.problem("%s: the reply to message %d is not in the chat: %q", s.owner(), m.n, text)
			} else {
				read[text]--
			}
		}
		extra := total - replies
		f.twice += max(0, extra)
		if extra > f.kills {
			f.problem("%s: %d messages for %d replies: more are there twice than %d kills can have made", s.owner(), total, replies, f.kills)
		}
	}
	if n := g.bot.Unconfirmed(); n > 0 {
		f.problem("%d updates of Telegram are not confirmed", n)
	}
}

// caughtUp waits until the daemon has taken what Telegram holds.
func (g *messenger) caughtUp(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !g.bot.Wait(ctx, func() bool { return g.bot.Unconfirmed() == 0 }) {
		t.Errorf("%d updates of Telegram are not confirmed within a minute", g.bot.Unconfirmed())
	}
}
