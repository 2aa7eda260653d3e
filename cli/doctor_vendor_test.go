// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
)

// vendors start both vendors of models; fit changes what they say.
func vendors(t *testing.T, fit func(v *fakellm.Vendors)) *fakellm.Vendors {
	t.Helper()
	v, err := fakellm.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	if fit != nil {
		fit(v)
	}
	return v
}

func openAI(url string) []string {
	return []string{"BLUFIO_AGENT__PROVIDER=openai", "BLUFIO_OPENAI__BASE_URL=" + url, "BLUFIO_OPENAI__API_KEY=sk-test-0123456789abcdef"}
}

func anthropicAt(url string) []string {
	return []string{"BLUFIO_AGENT__PROVIDER=anthropic", "BLUFIO_ANTHROPIC__BASE_URL=" + url, "BLUFIO_ANTHROPIC__API_KEY=sk-test-0123456789abcdef"}
}

func TestDoctorFindsWhatIsWrongWithAModel(t *testing.T) {
	t.Parallel()
	right := func(v *fakellm.Vendors) { v.OpenAI.RequireKey("sk-other"); v.Anthropic.RequireKey("sk-other") }
	listing := func(a fakellm.Answer) func(*fakellm.Vendors) {
		return func(v *fakellm.Vendors) { v.OpenAI.Listing(a); v.Anthropic.Listing(a) }
	}
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	plain := vendors(t, nil)
	t.Cleanup(untrusted.Close)
	for _, c := range []struct {
		breakage
		fit func(*fakellm.Vendors) // OpenAI's, or of what set says
	}{
		{fit: right, breakage: breakage{name: "wrong key", seen: "does not accept the API key (HTTP 401)", fix: "openai.api_key"}},
		{fit: right, breakage: breakage{name: "wrong key, while the daemon runs", up: true, seen: "does not accept the API key (HTTP 401)", fix: "openai.api_key"}},
		{fit: listing(fakellm.Fails(403, "", "Country, region, or territory not supported")), breakage: breakage{name: "403",
			seen: "(HTTP 403)", fix: "what that key may do"}},
		{fit: listing(fakellm.Fails(402, "", "Payment required")), breakage: breakage{name: "no credit", seen: "no credit left", fix: "add credit"}},
		{fit: listing(fakellm.Limited("20")), breakage: breakage{name: "429", level: bus.LevelWarn, seen: "asks to slow down (HTTP 429)", fix: "wait"}},
		{fit: listing(fakellm.Fails(500, "server_error", "oh")), breakage: breakage{name: "500", level: bus.LevelWarn, seen: "cannot answer now (HTTP 500)", fix: "wait"}},
		{fit: func(v *fakellm.Vendors) { v.OpenAI.SlowListing(time.Minute) }, breakage: breakage{name: "slow", level: bus.LevelWarn,
			seen: "did not answer within", fix: "--timeout"}},
		{fit: func(v *fakellm.Vendors) { v.OpenAI.SlowListing(time.Minute) }, breakage: breakage{name: "slow, while the daemon runs", up: true, level: bus.LevelWarn,
			seen: "did not answer within", fix: "--timeout", args: []string{"--timeout", "1200ms"}}},
		{fit: func(v *fakellm.Vendors) { v.OpenAI.Die() }, breakage: breakage{name: "nobody there", seen: "nothing answers at 127.0.0.1", fix: "runs"}},
		{breakage: breakage{name: "529", level: bus.LevelWarn, set: anthropicAt(vendors(t, listing(fakellm.Overloaded())).Anthropic.URL()),
			seen: "overloaded and cannot answer now (HTTP 529)", fix: "wait"}},
		{breakage: breakage{name: "wrong key at Anthropic", set: anthropicAt(vendors(t, right).Anthropic.URL()), seen: "(HTTP 401)", fix: "anthropic.api_key"}},
		{breakage: breakage{name: "the second one's key", set: append(slices.Concat(openAI(plain.OpenAI.URL()), anthropicAt(vendors(t, right).Anthropic.URL())), "BLUFIO_AGENT__PROVIDER=openai,anthropic"),
			seen: "and takes the key; anthropic: ", fix: "anthropic.api_key"}},
		{breakage: breakage{name: "an unknown name", set: openAI("https://nobody.invalid/v1"), seen: "the address of nobody.invalid was not found", fix: "network"}},
		{breakage: breakage{name: "a certificate of nobody", set: openAI(untrusted.URL + "/v1"), seen: "certificate of 127.0.0.1", fix: "certificates"}},
		{breakage: breakage{name: "https where http is spoken", set: openAI("https" + plain.OpenAI.URL()[4:]), seen: "does not speak https", fix: "http://"}},
		{fit: func(v *fakellm.Vendors) { v.OpenAI.Offer("another-model") }, breakage: breakage{name: "no such model", id: "BLF-LLM-002", level: bus.LevelWarn,
			seen: "openai/gpt-4o-mini", fix: "agent.model"}},
		{fit: func(v *fakellm.Vendors) { v.OpenAI.Clock(10 * time.Minute) }, breakage: breakage{name: "a wrong clock", id: "BLF-SYS-001", seen: "behind", fix: "synchronisation"}},
		{fit: func(v *fakellm.Vendors) { v.OpenAI.Clock(-time.Minute) }, breakage: breakage{name: "a clock that is off", up: true, id: "BLF-SYS-001", level: bus.LevelWarn, seen: "ahead of"}},
		{fit: func(*fakellm.Vendors) {}, breakage: breakage{name: "no budget", up: true, id: "BLF-COST-004", level: bus.LevelInfo, seen: "without a limit", fix: "daily_usd"}},
	} {
		if c.fit != nil {
			c.set = openAI(vendors(t, c.fit).OpenAI.URL())
		}
		if c.id == "" {
			c.id = "BLF-LLM-001"
		}
		if c.id == "BLF-COST-004" {
			c.set = append(c.set, "BLUFIO_COST__DAILY_USD=0", "BLUFIO_COST__MONTHLY_USD=0")
		}
		c.run(t)
	}
}

// The look at a model costs nothing, and the message that goes all the way is in
// nobody's conversation or bill.
func TestDoctorAsksForNothing(t *testing.T) {
	t.Parallel()
	v := vendors(t, nil)
	p := newPatient(t, openAI(v.OpenAI.URL())...)
	p.start()
	if code, report := p.doctor("--deep"); code != exitOK || len(v.OpenAI.Bills()) > 0 || len(v.OpenAI.Requests()) > 0 {
		t.Errorf("code %d, bills %v, %+v", code, v.OpenAI.Bills(), report)
	}
	for _, c := range []struct{ args, want string }{{"cost --json", `"models": []`}, {"status --json", `"total": 0`}, {"queue list", "nothing waits"},
		{"events --no-follow --seq 1 turn.completed", "channel=doctor"}} {
		if out, err := p.command(strings.Fields(c.args)...).Output(); err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, no %q in\n%s", c.args, err, c.want, out)
		}
	}
}

func TestDoctorFindsWhatIsWrongWithTelegram(t *testing.T) {
	t.Parallel()
	bot := func(fit func(*fakebot.Bot), more ...string) []string {
		b := fakebot.Start(t)
		env := append([]string{"BLUFIO_TELEGRAM__API_URL=" + b.URL(), "BLUFIO_TELEGRAM__BOT_TOKEN=" + b.Token(), "BLUFIO_TELEGRAM__ALLOW=7"}, more...)
		fit(b)
		return env
	}
	asked := func(b **fakebot.Bot) func(*patient) {
		return func(p *patient) {
			ctx, cancel := context.WithTimeout(p.Context(), 20*time.Second)
			defer cancel()
			if !(*b).Wait(ctx, func() bool { return len((*b).Requests("getUpdates")) > 1 }) {
				p.Fatal("the bot is not polled")
			}
		}
	}
	keep := func(at **fakebot.Bot, fit func(*fakebot.Bot)) func(*fakebot.Bot) {
		return func(b *fakebot.Bot) { *at = b; fit(b) }
	}
	allow := func(ids string) func(*patient) {
		return func(p *patient) {
			p.env = slices.DeleteFunc(slices.Clone(p.env), func(line string) bool { return strings.HasPrefix(line, "BLUFIO_TELEGRAM__ALLOW=") })
			p.write(p.toml, "[telegram]\nallow = ["+ids+"]\n")
		}
	}
	var contested, hooked *fakebot.Bot
	conflicts, limits := make([]fakebot.Fault, 50), make([]fakebot.Fault, 50)
	for i := range conflicts {
		limits[i] = fakebot.Fault{Code: 429, Description: "Too Many Requests", RetryAfter: 9}
		conflicts[i] = fakebot.Fault{Code: 409, Description: "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"}
	}
	for _, b := range []breakage{
		{name: "a wrong token", set: bot(func(b *fakebot.Bot) { b.SetToken("4242:another-token_here") }), id: "BLF-TG-001", seen: "401", fix: "@BotFather"},
		{name: "a wrong token, while the daemon runs", up: true, set: bot(func(b *fakebot.Bot) { b.SetToken("4242:another-token_here") }), id: "BLF-TG-001", seen: "401", fix: "@BotFather"},
		{name: "nobody there", set: bot((*fakebot.Bot).Close), id: "BLF-TG-001", seen: "not reached", fix: "telegram.api_url"},
		{name: "too many questions", set: bot(func(b *fakebot.Bot) {
			b.Fail("getMe", limits...)
		}),
			id: "BLF-TG-001", level: bus.LevelWarn, seen: "429", fix: "wait"},
		{name: "another poller", up: true, set: bot(keep(&contested, func(b *fakebot.Bot) { b.Fail("getUpdates", conflicts...) })), sick: asked(&contested),
			id: "BLF-TG-002", seen: "another program polled this bot", fix: "stop the other"},
		{name: "a webhook", up: true, set: bot(keep(&hooked, func(b *fakebot.Bot) { b.SetWebhook(true) })), sick: asked(&hooked),
			id: "BLF-TG-002", seen: "webhook", fix: "deleteWebhook"},
		{name: "nobody may", set: bot(func(*fakebot.Bot) {}, "BLUFIO_TELEGRAM__ALLOW="), id: "BLF-TG-003", level: bus.LevelWarn, seen: "empty", fix: "write to the bot"},
		{name: "nobody may any more", up: true, set: bot(func(*fakebot.Bot) {}, "BLUFIO_TELEGRAM__ALLOW="), pre: allow("7"), sick: and(allow(""), (*patient).reload),
			id: "BLF-TG-003", level: bus.LevelWarn, seen: "empty", fix: "write to the bot"},
	} {
		b.run(t)
	}
}
