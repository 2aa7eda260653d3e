// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
)

// A person talks to a whole daemon by Telegram: a command, a question to a model
// that streams, a message with a picture.
func TestTelegramConversation(t *testing.T) {
	const person = 1001
	tg, fake := fakebot.Start(t), fakellm.NewOpenAI(t)
	fake.Always(fakellm.Says("It is **a cat**."))
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider, cfg.OpenAI.BaseURL, cfg.Agent.Model = []string{"openai"}, fake.URL(), "gpt-4o-mini"
		cfg.Telegram.APIURL, cfg.Telegram.BotToken, cfg.Telegram.Allow = tg.URL(), config.NewSecret(tg.Token()), []int64{person}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	shows := func(n int, text string) {
		t.Helper()
		if !tg.Wait(ctx, func() bool { m := tg.Chat(person); return len(m) == n && strings.Contains(m[n-1].Plain, text) }) {
			t.Fatalf("the chat is %+v", tg.Chat(person))
		}
	}
	tg.Say(person, "/help")
	shows(1, "/new")
	photo := tg.File("cat", []byte("not really a jpeg"))
	tg.Send(map[string]any{"caption": "what is this?", "photo": []map[string]any{{"file_id": photo, "file_size": 17}},
		"chat": map[string]any{"id": int64(person), "type": "private"}, "from": map[string]any{"id": int64(person)}})
	shows(2, "It is a cat.")
	if m := tg.Chat(person)[1]; m.Text != "It is <b>a cat</b>." {
		t.Errorf("sent %q", m.Text)
	}
	st, err := bus.StatusGet.Ask(ctx, c, bus.StatusQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range st.Channels {
		if ch.Name == "telegram" && (ch.State != bus.Healthy || ch.LastSuccess == nil) {
			t.Errorf("status says %+v", ch)
		}
	}
}
