// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"cmp"
	"time"

	"github.com/blufio/blufio/services/agent/llm/wire"
	"github.com/blufio/blufio/services/config"
)

// DefaultURL is OpenAI's own address.
const DefaultURL = "https://api.openai.com/v1"

// Config is the section [openai], and that of each preset.
type Config struct {
	section        string        `koanf:"-"` // "" is [Name]
	APIKey         config.Secret `koanf:"api_key" doc:"Key for whoever is at base_url; a model on this machine usually needs none."`
	BaseURL        string        `koanf:"base_url" doc:"Where OpenAI's Chat Completions are spoken; with openai that may be any server, your own vLLM or LM Studio too."`
	AllowPlaintext bool          `koanf:"allow_plaintext" doc:"Let base_url be http:// on another machine than this one: a model in your own network. Messages and the key travel in the clear."`
	Timeout        time.Duration `koanf:"timeout" min:"1s" max:"1h" doc:"How long the server may be silent, before an answer and within it. A model that runs on a CPU may need minutes to read a long conversation."`
}

// Defaults are the settings of a fresh install.
func Defaults() Config { return Config{BaseURL: DefaultURL, Timeout: 2 * time.Minute} }

// Presets are providers of their own, with their own section and name, for
// servers that many people use. None has a default model: what they offer
// changes, or is what the owner has fetched.
func Ollama() Config     { return preset("ollama", "http://127.0.0.1:11434/v1") }
func OpenRouter() Config { return preset("openrouter", "https://openrouter.ai/api/v1") }
func Groq() Config       { return preset("groq", "https://api.groq.com/openai/v1") }

func preset(section, url string) Config {
	c := Defaults()
	c.section, c.BaseURL = section, url
	return c
}

// name is the section's and the provider's name.
func (c Config) name() string { return cmp.Or(c.section, Name) }

// DefaultModel is the model that a request without one is answered by, "" when
// every request has to name one.
func (c Config) DefaultModel() string {
	if c.name() == Name {
		return DefaultModel
	}
	return ""
}

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) { c.server().Check(report) }

func (c Config) server() wire.Server {
	return wire.Server{Section: c.name(), BaseURL: c.BaseURL, Path: "/chat/completions", Added: []string{"/chat/completions"},
		Key: c.APIKey, AllowPlaintext: c.AllowPlaintext, Timeout: c.Timeout, Speaks: "Chat Completions",
		Example: `"https://api.openai.com/v1" or "http://127.0.0.1:11434/v1"`,
		URLHint: "check " + c.name() + ".base_url; it usually ends with /v1"}
}

// KeyNeeded reports whether the server is one that answers nobody without a key.
func (c Config) KeyNeeded() bool {
	return c.official() || c.server().At("openrouter.ai") || c.server().At("api.groq.com")
}

// official reports whether the server is OpenAI's own.
func (c Config) official() bool { return c.server().At("api.openai.com") }
