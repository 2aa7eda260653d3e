// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/services/agent/faithful"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
)

const (
	modelTime  = 500 * time.Millisecond // until a model begins to answer
	remembered = 50                     // questions that the fakes keep
)

// outside is what the daemon talks to, in this process: a model and a Telegram
// server, on the real wire.
type outside struct {
	models *fakellm.Vendors
	bot    *fakebot.Bot
	sick   atomic.Bool // the model stalls, breaks off and talks without end
	asked  atomic.Int64
}

func newOutside() (*outside, error) {
	models, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	bot, err := fakebot.New()
	if err != nil {
		models.Close()
		return nil, err
	}
	o := &outside{models: models, bot: bot}
	models.OpenAI.Keep(remembered)
	models.OpenAI.Reply(o.answer)
	return o, nil
}

var (
	short = fakellm.Says("It ", "is ", "so.")
	long  = fakellm.Says(strings.Split(strings.Repeat("And so it goes on and on, one word after another. ", 160), " ")...) // 8 kB
)

// answer is the model's next one. A sick model stalls with each fourth, and talks
// long with each third; a summary, which is asked for without tools, is a good one.
func (o *outside) answer(q fakellm.Question) fakellm.Answer {
	n := o.asked.Add(1)
	switch {
	case o.sick.Load() && n%4 == 0:
		a := short
		a.End = fakellm.Stall
		return a
	case o.sick.Load() && n%3 == 0:
		return long
	case len(q.Tools) == 0:
		return summary(q.Text)
	}
	return short
}

// summary says what has to be in one, of the conversation and of the summary before.
func summary(asked string) fakellm.Answer {
	var said []string
	before, conversation, _ := strings.Cut(asked, "The conversation:")
	for line := range strings.Lines(conversation) {
		if _, text, ok := strings.Cut(line, "] Person: "); ok {
			said = append(said, text)
		}
	}
	var words []string
	for _, it := range slices.Concat(faithful.Items(said...), faithful.Items(before)) {
		words = append(words, it.Text)
	}
	return fakellm.Says("They spoke of ", strings.Join(words, ", "), ".")
}

// slow sets how long the model takes.
func (o *outside) slow(d time.Duration) { o.models.OpenAI.Latency(d) }

// config is the daemon's, with Telegram and two commands: what is not set is as installed,
// so that there is no sentence model, extraction, heartbeat, hub or hook. A model's
// silence is borne for a shorter time.
func (o *outside) config(path string, opt options, memory string) error {
	return os.WriteFile(path, fmt.Appendf(nil, `[gateway]
listen = "127.0.0.1:0"
[bus]
listen = "127.0.0.1:0"
[log]
format = "json"
[agent]
provider = %q
%s
[openai]
base_url = %q
timeout = %q
[telegram]
api_url = %q
bot_token = %q
allow = [1001]
[tools]
shell = ["date", "uptime"]
[cost]
daily_usd = 0
monthly_usd = 0
[memory]
%s
`, opt.provider, opt.agent, o.models.OpenAI.URL(), opt.silence, o.bot.URL(), o.bot.Token(), memory), 0o600)
}

func (o *outside) close() {
	o.bot.Close()
	o.models.Close()
}
