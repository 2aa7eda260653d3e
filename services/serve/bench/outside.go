// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
)

// person is who talks to the bot.
const person = 1001

// kept is how many questions the fake models remember; more would fill this
// process with them.
const kept = 200

// outside is what a daemon with everything on talks to, in this process.
type outside struct {
	models *fakellm.Vendors
	bot    *fakebot.Bot
	config string // of that daemon
}

// newOutside starts the fakes, which answer at once. The configuration has every
// tool, Telegram, and a model on the vendor's wire.
func (r *run) newOutside(provider string) (*outside, error) {
	models, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	bot, err := fakebot.New()
	if err != nil {
		models.Close()
		return nil, err
	}
	models.OpenAI.Keep(kept)
	models.Anthropic.Keep(kept)
	models.OpenAI.CacheFrom(1)
	models.Anthropic.CacheFrom(1)
	o := &outside{models: models, bot: bot, config: filepath.Join(r.tmp, "everything-"+provider+".toml")}
	text := freePorts + fmt.Sprintf(`[agent]
provider = %q
compact_monthly_usd = 0 # these models cannot summarise, and every question is counted
[anthropic]
base_url = %q
[openai]
base_url = %q
[telegram]
api_url = %q
bot_token = %q
allow = [%d]
[tools]
shell = ["date", "uptime"]
[cost]
daily_usd = 0
monthly_usd = 0
`, provider, models.Anthropic.URL(), models.OpenAI.URL(), bot.URL(), bot.Token(), person)
	if err := os.WriteFile(o.config, []byte(text), 0o600); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// answers sets what the models say.
func (o *outside) answers(a fakellm.Answer) {
	o.models.OpenAI.Always(a)
	o.models.Anthropic.Always(a)
}

// polled reports whether a daemon listens to Telegram.
func (o *outside) polled() bool { return len(o.bot.Requests("getMe")) > 0 }

func (o *outside) close() {
	o.bot.Close()
	o.models.Close()
}

// startFresh runs the daemon on a new data directory.
func (r *run) startFresh(name, config string) (*daemon, error) {
	dir, err := r.dir(name)
	if err != nil {
		return nil, err
	}
	return r.startWith(dir, config)
}
