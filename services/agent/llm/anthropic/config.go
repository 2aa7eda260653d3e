// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"time"

	"github.com/blufio/blufio/services/agent/llm/wire"
	"github.com/blufio/blufio/services/config"
)

// DefaultURL is Anthropic's own address.
const DefaultURL = "https://api.anthropic.com"

// Config is the section [anthropic].
type Config struct {
	APIKey         config.Secret `koanf:"api_key" doc:"Key for Anthropic or whoever is at base_url."`
	BaseURL        string        `koanf:"base_url" doc:"Where Anthropic's Messages API is spoken, without /v1."`
	AllowPlaintext bool          `koanf:"allow_plaintext" doc:"Let base_url be http:// on another machine than this one. Messages and the key travel in the clear."`
	Timeout        time.Duration `koanf:"timeout" min:"1s" max:"1h" doc:"How long the server may be silent, before an answer and within it."`
}

// Defaults are the settings of a fresh install.
func Defaults() Config { return Config{BaseURL: DefaultURL, Timeout: 2 * time.Minute} }

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) { c.server().Check(report) }

func (c Config) server() wire.Server {
	return wire.Server{Section: Name, BaseURL: c.BaseURL, Path: "/v1/messages", Added: []string{"/v1", "/v1/messages"},
		Key: c.APIKey, AllowPlaintext: c.AllowPlaintext, Timeout: c.Timeout, Speaks: "Anthropic Messages",
		Example: `"` + DefaultURL + `"`,
		URLHint: "check anthropic.base_url; it is usually " + DefaultURL}
}

// KeyNeeded reports whether the server is Anthropic's own, which answers nobody
// without a key.
func (c Config) KeyNeeded() bool { return c.server().At("api.anthropic.com") }
