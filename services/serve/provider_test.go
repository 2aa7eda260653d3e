// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/cost"
)

// priced writes a configuration in which made-up models cost nothing.
func priced(t *testing.T) string {
	t.Helper()
	text := "[cost.prices]\n"
	for _, model := range []string{"a", "b", "b/c", "a/b", "c", "m", "tiny", "llama3.2", "1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		text += fmt.Sprintf("%q = { free = true }\n", model)
	}
	path := filepath.Join(t.TempDir(), "blufio.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Who answers is decided before anything starts, and what is missing is named.
func TestProviderIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		flags     map[string]string
		key, hint string // of the only problem; "" for none
	}{
		"offline":                {map[string]string{"agent.provider": "offline"}, "", ""},
		"openai":                 {map[string]string{"agent.provider": "openai", "openai.api_key": "k"}, "", ""},
		"anthropic":              {map[string]string{"agent.provider": "anthropic", "anthropic.api_key": "k"}, "", ""},
		"anthropic without key":  {map[string]string{"agent.provider": "anthropic"}, "anthropic.api_key", "set-secret anthropic.api_key"},
		"openai without key":     {map[string]string{"agent.provider": "openai"}, "openai.api_key", "set-secret openai.api_key"},
		"a model of your own":    {map[string]string{"agent.provider": "openai", "openai.base_url": "http://127.0.0.1:11434/v1"}, "", ""},
		"one in the network":     {map[string]string{"agent.provider": "openai", "openai.base_url": "http://192.168.1.9/v1"}, "openai.base_url", "openai.allow_plaintext"},
		"nobody known":           {map[string]string{"agent.provider": "oracle"}, "agent.provider", "openai"},
		"a slip":                 {map[string]string{"agent.provider": "opnrouter/m"}, "agent.provider", `did you mean "openrouter"?`},
		"nobody":                 {map[string]string{"agent.provider": ","}, "agent.provider", "offline"},
		"a list":                 {map[string]string{"agent.provider": "openai,ollama/llama3.2,offline", "openai.api_key": "k"}, "", ""},
		"too many":               {map[string]string{"agent.provider": "ollama/1,ollama/2,ollama/3,ollama/4,ollama/5,ollama/6,ollama/7,ollama/8,ollama/9"}, "agent.provider", ""},
		"two of one provider":    {map[string]string{"agent.provider": "ollama/a,ollama/b/c"}, "", ""},
		"twice":                  {map[string]string{"agent.provider": "openai,openai/gpt-4o-mini", "openai.api_key": "k"}, "agent.provider", "another"},
		"no default model":       {map[string]string{"agent.provider": "ollama"}, "agent.provider", `write it as "ollama/MODEL"`},
		"agent.model is taken":   {map[string]string{"agent.provider": "ollama/a,ollama,openai", "agent.model": "b", "openai.api_key": "k"}, "", ""},
		"it is taken once":       {map[string]string{"agent.provider": "ollama,groq", "agent.model": "b", "groq.api_key": "k"}, "agent.provider", "groq/MODEL"},
		"no model behind it":     {map[string]string{"agent.provider": "ollama/"}, "agent.provider", ""},
		"a preset without key":   {map[string]string{"agent.provider": "openrouter/a,openrouter/b"}, "openrouter.api_key", "set-secret openrouter.api_key"},
		"a preset in the clear":  {map[string]string{"agent.provider": "ollama/a", "ollama.base_url": "http://192.168.1.9/v1"}, "ollama.base_url", "ollama.allow_plaintext"},
		"a tier":                 {map[string]string{"routing.simple": "ollama/a", "routing.complex": "openai"}, "openai.api_key", "set-secret openai.api_key"},
		"a model without price":  {map[string]string{"agent.provider": "ollama/new"}, "agent.provider", `[cost.prices."new"]`},
		"a tier without price":   {map[string]string{"routing.simple": "ollama/new"}, "routing.simple", "free = true"},
		"a tier of nobody":       {map[string]string{"routing.standard": "grok/a"}, "routing.standard", `did you mean "groq"?`},
		"little memory":          {map[string]string{"memory.limit_mb": "64"}, "memory.limit_mb", "gateway.max_body_bytes"},
		"little, well shared":    {map[string]string{"memory.limit_mb": "64", "gateway.max_body_bytes": "65536", "gateway.max_connections": "32", "agent.pictures_mb": "1", "agent.material_mb": "1", "tools.max_fetches": "1", "tools.http_kb": "128", "memory.database_cache_kb": "256", "recall.index_mb": "1"}, "", ""},
		"many pictures":          {map[string]string{"agent.pictures_mb": "9"}, "memory.limit_mb", "agent.pictures_mb"},
		"many files":             {map[string]string{"agent.material_mb": "6"}, "memory.limit_mb", "agent.material_mb"},
		"a large cache":          {map[string]string{"memory.database_cache_kb": "2048"}, "memory.limit_mb", "memory.database_cache_kb"},
		"many pages":             {map[string]string{"tools.max_fetches": "12"}, "memory.limit_mb", "tools.max_fetches"},
		"more bodies":            {map[string]string{"gateway.max_bodies": "18"}, "memory.limit_mb", "gateway.max_bodies"},
		"a second place for all": {map[string]string{"gateway.max_bodies": "32", "agent.pictures_mb": "16", "memory.limit_mb": "400"}, "", ""},
		"large bodies":           {map[string]string{"gateway.max_body_bytes": "1048576"}, "memory.limit_mb", "raise"},
		"a key that no one uses": {map[string]string{"openai.api_key": "k"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, loaded, err := Load(config.Sources{Files: []string{priced(t)}, Flags: c.flags})
			problems, _ := err.(config.Problems)
			if err == nil {
				problems = MissingKeys(cfg, loaded, nil)
			}
			switch {
			case c.key == "" && (err != nil || len(problems) > 0):
				t.Error(err, problems)
			case c.key != "" && (len(problems) != 1 || problems[0].Key != c.key || !strings.Contains(problems[0].Hint, c.hint)):
				t.Errorf("%#v", problems)
			}
		})
	}
}

// The limit that is asked for is the least that is enough; CONFIG.md names that of the defaults.
func TestLeastMemoryIsNamed(t *testing.T) {
	limited := func(mib string) []config.Problem {
		_, _, err := Load(config.Sources{Flags: map[string]string{"memory.limit_mb": mib}})
		problems, _ := err.(config.Problems)
		return problems
	}
	if got := limited("198"); len(got) != 1 || !strings.Contains(got[0].Hint, "raise it to 199,") {
		t.Errorf("198 MiB: %v", got)
	}
	if got := limited("199"); len(got) != 0 {
		t.Errorf("199 MiB: %v", got)
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

// The entries become models in their order; agent.model goes to the first that
// names none, and models of one provider share it.
func TestModelsOfTheConfiguration(t *testing.T) {
	c, _, err := Load(config.Sources{Files: []string{priced(t)}, Flags: map[string]string{"agent.provider": "ollama/a/b,openai,ollama/c,offline", "agent.model": "m",
		"openai.api_key": "k", "routing.simple": "ollama/tiny", "routing.complex": "openai"}})
	if err != nil {
		t.Fatal(err)
	}
	ms, err := c.models()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range append(ms.List, *ms.Simple, *ms.Complex) {
		got = append(got, m.String())
	}
	if want := "ollama/a/b openai/m ollama/c offline/offline ollama/tiny openai/gpt-4o-mini"; strings.Join(got, " ") != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	if ms.Standard != nil || ms.List[0].Provider != ms.List[2].Provider || ms.List[0].Provider != ms.Simple.Provider {
		t.Error("models of one provider do not share it")
	}
}

// The whole way: a vendor that fails is left behind for the next, on the wire,
// within the turn; the ledger and the event name who answered.
func TestFallbackOnTheWire(t *testing.T) {
	first, second := fakellm.NewOpenAI(t), fakellm.NewOpenAI(t)
	c := daemon(t, func(cfg *Config) {
		cfg.Agent.Provider = config.StringList{"openrouter/dear", "ollama/home", "offline"}
		cfg.OpenRouter.BaseURL, cfg.Ollama.BaseURL = first.URL(), second.URL()
		cfg.Cost.Prices = map[string]cost.Price{"dear": {Input: 1, Output: 1}, "home": {Free: true}}
	})
	// The first uses a tool and then has no credit: the second goes on from there.
	first.Script(fakellm.Uses(fakellm.Call{Name: "remember", Arguments: `{"text":"boiler 4711"}`}), fakellm.Fails(402, "", "Insufficient credits"))
	second.Script(fakellm.Says("Noted."))
	if m := say(t, c, "keep this: boiler 4711"); m.State != bus.StateAnswered || m.Reply != "Noted." {
		t.Fatalf("got %+v", m)
	}
	asked := second.Requests()
	if len(asked) != 1 || asked[0].Model != "home" {
		t.Fatalf("the second was asked %+v", asked)
	}
	if last := asked[0].Messages[len(asked[0].Messages)-1]; last.Role != "tool" || last.ToolCallID != "call_a" {
		t.Errorf("the tool's result did not go along: %+v", last)
	}
	st, err := bus.StatusGet.Ask(t.Context(), c, bus.StatusQuery{})
	if err != nil || st.Provider != "openrouter" || st.Model != "dear" {
		t.Errorf("status: %s/%s, %v", st.Provider, st.Model, err)
	}
	// Both are gone: what stands behind them says so, and not that none is configured.
	first.Die()
	second.Die()
	if m := say(t, c, "hello"); m.State != bus.StateAnswered || !strings.Contains(m.Reply, "no language model can answer now") {
		t.Errorf("got %+v", m)
	}
}
