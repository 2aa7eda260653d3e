// SPDX-License-Identifier: MIT OR Apache-2.0

package remote

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/outbound"
)

// path is added to the address.
const path = "/embeddings"

// Config is where and how vectors are asked for.
type Config struct {
	Section        string        `koanf:"-"` // of the configuration, for messages: "recall.server"
	BaseURL        string        `koanf:"base_url" doc:"Where OpenAI's Embeddings are spoken; /embeddings is added to it."`
	APIKey         config.Secret `koanf:"api_key" doc:"Key for whoever is at base_url; a server on this machine usually needs none."`
	Model          string        `koanf:"model" doc:"The embedding model that is asked for."`
	Dimensions     int           `koanf:"dimensions" min:"0" max:"8192" doc:"How many numbers a vector shall have, for models that can shorten it; 0 is what the model gives."`
	Batch          int           `koanf:"batch" min:"1" max:"256" doc:"How many texts go in one request at most."`
	AllowPlaintext bool          `koanf:"allow_plaintext" doc:"Let base_url be http:// on another machine than this one: a server in your own network. Texts and the key travel in the clear."`
	Timeout        time.Duration `koanf:"timeout" min:"1s" max:"10m" doc:"How long the server may be silent."`
}

// Defaults are the settings of a fresh install: with no server.
func Defaults() Config {
	return Config{Section: "recall.server", Model: "text-embedding-3-small", Batch: 64, Timeout: 30 * time.Second}
}

// setting is the full name of a key.
func (c Config) setting(key string) string { return c.Section + "." + key }

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) {
	const example = `write it like "https://api.openai.com/v1" or "http://127.0.0.1:11434/v1"`
	if !c.On() {
		return // there is no server
	}
	u, err := url.Parse(c.BaseURL)
	var plain *outbound.PlaintextError
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		report("base_url", "it is not a URL of https:// or http://", example)
	case u.User != nil:
		report("base_url", "a name and password do not belong into it", "put the key into "+c.setting("api_key"))
	case u.RawQuery != "" || u.Fragment != "":
		report("base_url", "it goes on behind its path", example)
	case strings.HasSuffix(strings.TrimRight(u.Path, "/"), path):
		report("base_url", "it says "+path+", which is added to it", "leave that off")
	case errors.As(c.bounds().CheckURL(u), &plain):
		report("base_url", plain.Error(), plain.Hint())
	}
	if c.Model == "" {
		report("model", "a server is asked for a model by name", "set it to an embedding model that the server has")
	}
}

// On reports whether there is a server.
func (c Config) On() bool { return c.BaseURL != "" }

// validate returns the first problem that Check finds, or one of those that the configuration's own bounds would have found.
func (c Config) validate() (err error) {
	if !c.On() {
		return fmt.Errorf("%s: there is no server", c.setting("base_url"))
	}
	c.Check(func(key, message, hint string) {
		if err == nil {
			err = fmt.Errorf("%s: %s (%s)", c.setting(key), message, hint)
		}
	})
	if err == nil && (c.Batch < 1 || c.Dimensions < 0 || c.Dimensions > maxDim) {
		err = fmt.Errorf("%s and %s are out of their bounds", c.setting("batch"), c.setting("dimensions"))
	}
	return err
}

// bounds are those of the client.
func (c Config) bounds() outbound.Options {
	return outbound.Options{AllowPlaintext: c.AllowPlaintext, Setting: c.setting("allow_plaintext"), Silence: c.Timeout, MaxBody: maxBody}
}
