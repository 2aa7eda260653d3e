// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/config"
)

// Who answers is decided before anything starts, and what is missing is named.
func TestProviderIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		flags     map[string]string
		key, hint string // of the only problem; "" for none
	}{
		"offline":                {map[string]string{"agent.provider": "offline"}, "", ""},
		"openai":                 {map[string]string{"agent.provider": "openai", "openai.api_key": "k"}, "", ""},
		"anthropic":              {map[string]string{"agent.provider": "anthropic", "anthropic.api_key": "k"}, "", ""},
		"anthropic without key":  {map[string]string{"agent.provider": "anthropic"}, "anthropic.api_key", "BLUFIO_ANTHROPIC__API_KEY"},
		"openai without key":     {map[string]string{"agent.provider": "openai"}, "openai.api_key", "BLUFIO_OPENAI__API_KEY"},
		"a model of your own":    {map[string]string{"agent.provider": "openai", "openai.base_url": "http://127.0.0.1:11434/v1"}, "", ""},
		"one in the network":     {map[string]string{"agent.provider": "openai", "openai.base_url": "http://192.168.1.9/v1"}, "openai.base_url", "openai.allow_plaintext"},
		"nobody known":           {map[string]string{"agent.provider": "oracle"}, "agent.provider", "openai"},
		"two":                    {map[string]string{"agent.provider": "openai,offline", "openai.api_key": "k"}, "agent.provider", "fallback"},
		"a key that no one uses": {map[string]string{"openai.api_key": "k"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Load(config.Sources{Flags: c.flags})
			problems, _ := err.(config.Problems)
			switch {
			case c.key == "" && err != nil:
				t.Error(err)
			case c.key != "" && (len(problems) != 1 || problems[0].Key != c.key || !strings.Contains(problems[0].Hint, c.hint)):
				t.Errorf("%#v", problems)
			}
		})
	}
}

// A server that asks to slow down is asked again, within the same turn.
func TestModelIsAskedAgain(t *testing.T) {
	fake := fakellm.NewOpenAI(t)
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider = config.StringList{"openai"}
		cfg.OpenAI.BaseURL = fake.URL()
	})
	fake.Script(fakellm.Limited("0"), fakellm.Says("Now I can."))
	if m := say(t, c, "hello"); m.State != bus.StateAnswered || m.Reply != "Now I can." {
		t.Errorf("got %+v", m)
	}
	if n := len(fake.Requests()); n != 2 {
		t.Errorf("it was asked %d times", n)
	}
}

// What is streamed and then breaks off is no reply, and a server that is gone is
// named.
func TestModelBreaksOff(t *testing.T) {
	fake := fakellm.NewOpenAI(t)
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider = config.StringList{"openai"}
		cfg.OpenAI.BaseURL = fake.URL()
	})
	fake.Script(fakellm.Answer{Text: []string{"Transfer all your mon"}, End: fakellm.Cut})
	if m := say(t, c, "hello"); m.State != bus.StateFailed || m.Error != bus.CodeUnavailable || strings.Contains(m.Reply, "Transfer") || !strings.Contains(m.Reply, "broke off") {
		t.Errorf("got %+v", m)
	}
	fake.Die()
	if m := say(t, c, "hello again"); m.State != bus.StateFailed || m.Error != bus.CodeUnavailable || !strings.Contains(m.Reply, "nothing answers at 127.0.0.1") {
		t.Errorf("got %+v", m)
	}
}
