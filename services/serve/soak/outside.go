// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
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
	sick   atomic.Bool // the model stalls, talks without end, and reads file after file
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
	long  = fakellm.Says(strings.Split(strings.Repeat("And so it goes on and on, one word after another. ", 160), " ")...)    // 8 kB
	reads = fakellm.Uses(slices.Repeat([]fakellm.Call{{Name: "read_file", Arguments: `{"path":"` + longFile + `"}`}}, 16)...) // as many at once as there may be
)

// longFile lies in the workspace, and is longer than what a tool brings back of one.
const (
	longFile      = "long.txt"
	longFileBytes = 20_000
)

// answer is the model's next one. A sick model stalls with each fourth, has files read
// with each fifth and then, as often as not, once more, and talks long with each third; a
// summary, which is asked for without tools, is a good one.
func (o *outside) answer(q fakellm.Question) fakellm.Answer {
	n := o.asked.Add(1)
	switch {
	case o.sick.Load() && n%4 == 0:
		a := short
		a.End = fakellm.Stall
		return a
	case o.sick.Load() && len(q.Tools) > 0 && (n%5 == 0 || len(q.Results) > 0 && n%4 < 3):
		return reads
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

// config is the daemon's, with Telegram, two commands and a file to read: what is not set
// is as installed, so that there is no sentence model, extraction, heartbeat, hub or hook.
// A model's silence is borne for a shorter time.
func (o *outside) config(path string, opt options, memory string) error {
	workspace := filepath.Join(filepath.Dir(path), "workspace")
	if err := os.Mkdir(workspace, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(workspace, longFile), slices.Repeat([]byte("So it is written. "), longFileBytes/18), 0o600); err != nil {
		return err
	}
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
workspace = %q
shell = ["date", "uptime"]
[cost]
daily_usd = 0
monthly_usd = 0
[memory]
%s
`, opt.provider, opt.agent, o.models.OpenAI.URL(), opt.silence, o.bot.URL(), o.bot.Token(), workspace, memory), 0o600)
}

func (o *outside) close() {
	o.bot.Close()
	o.models.Close()
}
