// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/outbound"
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
func (c Config) Check(report func(key, message, hint string)) {
	c.checkURL(report)
	if strings.ContainsFunc(c.APIKey.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		report("api_key", "it has a space, a line end or another character that no key has", "copy it again, without anything around it")
	}
}

func (c Config) checkURL(report func(key, message, hint string)) {
	const example = `write it like "https://api.openai.com/v1" or "http://127.0.0.1:11434/v1"`
	u, err := url.Parse(c.BaseURL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		report("base_url", "it is not a URL of https:// or http://", example)
		return
	case u.User != nil:
		report("base_url", "a name and password do not belong into it", "put the key into openai.api_key")
		return
	case u.RawQuery != "" || u.Fragment != "":
		report("base_url", "it goes on behind its path", example)
		return
	case strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/chat/completions"):
		report("base_url", "it says /chat/completions, which is added to it", "leave that off")
		return
	}
	var plain *outbound.PlaintextError
	if errors.As(c.outbound().CheckURL(u), &plain) {
		report("base_url", plain.Error(), plain.Hint())
	}
}

// validate returns the first problem that Check finds.
func (c Config) validate() (err error) {
	c.Check(func(key, message, hint string) {
		if err == nil {
			err = fmt.Errorf("openai.%s: %s (%s)", key, message, hint)
		}
	})
	return err
}

// outbound are the bounds of the client.
func (c Config) outbound() outbound.Options {
	return outbound.Options{AllowPlaintext: c.AllowPlaintext, Setting: "openai.allow_plaintext", Silence: c.Timeout, MaxBody: maxBody}
}

// KeyNeeded reports whether the server is OpenAI's own, which answers nobody
// without a key.
func (c Config) KeyNeeded() bool { return c.official() }

// official reports whether the server is OpenAI's own.
func (c Config) official() bool {
	u, err := url.Parse(c.BaseURL)
	return err == nil && strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), "api.openai.com")
}
