// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"time"

	"github.com/blufio/blufio/services/agent/llm/wire"
	"github.com/blufio/blufio/services/config"
)

// DefaultURL is OpenAI's own address.
const DefaultURL = "https://api.openai.com/v1"

// Config is the section [openai].
type Config struct {
	APIKey         config.Secret `koanf:"api_key" doc:"Key for OpenAI or whoever is at base_url; a model on this machine usually needs none."`
	BaseURL        string        `koanf:"base_url" doc:"Where OpenAI's Chat Completions are spoken: OpenAI, OpenRouter, Groq, or your own Ollama (http://127.0.0.1:11434/v1), vLLM or LM Studio."`
	AllowPlaintext bool          `koanf:"allow_plaintext" doc:"Let base_url be http:// on another machine than this one: a model in your own network. Messages and the key travel in the clear."`
	Timeout        time.Duration `koanf:"timeout" min:"1s" max:"1h" doc:"How long the server may be silent, before an answer and within it. A model that runs on a CPU may need minutes to read a long conversation."`
}

// Defaults are the settings of a fresh install.
func Defaults() Config { return Config{BaseURL: DefaultURL, Timeout: 2 * time.Minute} }

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) { c.server().Check(report) }

func (c Config) server() wire.Server {
	return wire.Server{Section: Name, BaseURL: c.BaseURL, Path: "/chat/completions", Added: []string{"/chat/completions"},
		Key: c.APIKey, AllowPlaintext: c.AllowPlaintext, Timeout: c.Timeout, Speaks: "Chat Completions",
		Example: `"https://api.openai.com/v1" or "http://127.0.0.1:11434/v1"`,
		URLHint: "check openai.base_url; it usually ends with /v1"}
}

// KeyNeeded reports whether the server is OpenAI's own, which answers nobody
// without a key.
func (c Config) KeyNeeded() bool { return c.official() }

// official reports whether the server is OpenAI's own.
func (c Config) official() bool { return c.server().At("api.openai.com") }
