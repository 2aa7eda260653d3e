// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/channel/telegram/telegramtest/fakebot"
	"github.com/blufio/blufio/services/config"
)

// keep puts a secret into the vault of a running daemon.
func keep(t *testing.T, c *bus.Conn, name, value string) {
	t.Helper()
	if _, err := bus.VaultSet.Ask(t.Context(), c, bus.SecretValue{Name: name, Value: bus.Hide(value)}); err != nil {
		t.Fatalf("keep %s: %v", name, err)
	}
}

// keepOffline does it while none runs.
func keepOffline(t *testing.T, o Options, name, value string) {
	t.Helper()
	o.Logger, o.Now = bustest.Logger(t), time.Now
	err := WithVault(t.Context(), o, func(string) {}, func(v *OfflineVault) error {
		_, err := v.Set(t.Context(), bus.SecretValue{Name: name, Value: bus.Hide(value)})
		return err
	})
	if err != nil {
		t.Fatalf("keep %s: %v", name, err)
	}
}

// A key that is set on a running daemon counts with the next question, for both wires.
func TestKeyCountsAtOnce(t *testing.T) {
	for name, fake := range map[string]interface {
		URL() string
		RequireKey(string)
	}{"openai": fakellm.NewOpenAI(t), "anthropic": fakellm.NewAnthropic(t)} {
		t.Run(name, func(t *testing.T) {
			fake.RequireKey("key-b")
			c, _ := daemonOf(t, func(o *Options) {
				keepOffline(t, Options{DataDir: o.DataDir}, name+".api_key", "key-a")
				o.Config.Agent.Provider = []string{name}
				o.Config.OpenAI.BaseURL, o.Config.Anthropic.BaseURL = fake.URL(), fake.URL()
			})
			if m := say(t, c, "hello"); m.State != bus.StateFailed || m.Error != bus.CodeDenied {
				t.Fatalf("with the old key: %+v", m)
			}
			keep(t, c, name+".api_key", "key-b")
			if m := say(t, c, "hello again"); m.State != bus.StateAnswered {
				t.Fatalf("with the new key: %+v", m)
			}
			if _, err := bus.VaultRotate.Ask(t.Context(), c, bus.VaultRotation{}); err != nil {
				t.Fatal(err)
			}
			if m := say(t, c, "and now?"); m.State != bus.StateAnswered {
				t.Fatalf("with a new vault key: %+v", m)
			}
			if _, err := bus.VaultDelete.Ask(t.Context(), c, bus.SecretName{Name: name + ".api_key"}); err != nil {
				t.Fatal(err)
			}
			if m := say(t, c, "without a key"); m.State != bus.StateFailed {
				t.Fatalf("without a key: %+v", m)
			}
		})
	}
}

// A daemon starts when the key that its provider needs lies in the vault, and else not:
// before anything is made where there is no vault.
func TestKeyInTheVaultIsEnough(t *testing.T) {
	o := Options{Config: Defaults(), DataDir: filepath.Join(t.TempDir(), "data"), Version: "test", Logger: bustest.Logger(t)}
	o.Config.Gateway.Listen, o.Config.Bus.Listen, o.Config.Memory.LimitMB = "127.0.0.1:0", "127.0.0.1:0", 2000
	o.Config.Agent.Provider = []string{"openai"}
	refused := func() {
		t.Helper()
		err := Run(t.Context(), o)
		var problems config.Problems
		errors.As(err, &problems)
		if ExitCode(err) != ExitConfig || len(problems) != 1 || !strings.Contains(problems[0].Hint, "blufio config set-secret openai.api_key") {
			t.Fatalf("the daemon ended with %v", err)
		}
	}
	refused()
	if _, err := os.Stat(o.DataDir); err == nil {
		t.Error("the data directory was made")
	}
	keepOffline(t, o, "openai.other", "x")
	refused()
	keepOffline(t, o, "openai.api_key", "key")
	ctx, stop := context.WithCancel(t.Context())
	o.Ready = func(Info) { stop() }
	if err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
}

// A token that is set on a running daemon starts the channel, and one that is deleted
// stops it.
func TestTokenCountsAtOnce(t *testing.T) {
	const person = 1001
	tg := fakebot.Start(t)
	c := daemon(t, func(cfg *Config) {
		cfg.Telegram.APIURL, cfg.Telegram.Allow = tg.URL(), []int64{person}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	state := func() string {
		st, err := bus.StatusGet.Ask(ctx, c, bus.StatusQuery{})
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range st.Channels {
			if ch.Name == "telegram" {
				return ch.State
			}
		}
		return ""
	}
	if s := state(); s != bus.Stopped {
		t.Errorf("without a token the channel is %s", s)
	}
	tg.Say(person, "/help")
	keep(t, c, "telegram.bot_token", tg.Token())
	if !tg.Wait(ctx, func() bool { return len(tg.Chat(person)) == 1 }) {
		t.Fatal("the message was not answered")
	}
	if s := state(); s != bus.Healthy {
		t.Errorf("with a token the channel is %s", s)
	}
	if _, err := bus.VaultSet.Ask(ctx, c, bus.SecretValue{Name: "telegram.bot_token", Value: bus.Hide("no token")}); bus.CodeOf(err) != bus.CodeInvalid {
		t.Errorf("a bad token: %v", err)
	}
	if _, err := bus.VaultDelete.Ask(ctx, c, bus.SecretName{Name: "telegram.bot_token"}); err != nil {
		t.Fatal(err)
	}
	for state() != bus.Stopped {
		if ctx.Err() != nil {
			t.Fatal("the channel does not stop")
		}
	}
}
