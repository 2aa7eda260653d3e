// SPDX-License-Identifier: MIT OR Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/internal/outbound"
)

// Server is where a provider asks, and how its section of the configuration
// speaks of it.
type Server struct {
	Section        string // of the configuration: "openai"
	BaseURL        string
	Path           string   // of the endpoint, added to BaseURL: "/chat/completions"
	Added          []string // ends of a BaseURL that say already what Path adds
	Key            config.Secret
	AllowPlaintext bool
	Timeout        time.Duration // how long the server may be silent
	Speaks         string        // what is spoken there, in the plural: "Chat Completions"
	Example        string        // of a BaseURL, for hints: `"https://…" or "http://…"`
	URLHint        string        // what to look at when nothing fitting answers
}

const maxBody = 32 << 20 // bytes of a stream: 64 000 tokens with their wrapping

// setting is the full name of one of the section's keys.
func (s Server) setting(key string) string { return s.Section + "." + key }

// Check reports what no bound of a single key can say.
func (s Server) Check(report func(key, message, hint string)) {
	s.checkURL(report)
	if !s.Key.IsLive() && strings.ContainsFunc(s.Key.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		report("api_key", "it has a space, a line end or another character that no key has", "copy it again, without anything around it")
	}
}

func (s Server) checkURL(report func(key, message, hint string)) {
	example := "write it like " + s.Example
	u, err := url.Parse(s.BaseURL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		report("base_url", "it is not a URL of https:// or http://", example)
		return
	case u.User != nil:
		report("base_url", "a name and password do not belong into it", "put the key into "+s.setting("api_key"))
		return
	case u.RawQuery != "" || u.Fragment != "":
		report("base_url", "it goes on behind its path", example)
		return
	}
	for _, end := range s.Added {
		if strings.HasSuffix(strings.TrimRight(u.Path, "/"), end) {
			report("base_url", "it says "+end+", which is added to it", "leave that off")
			return
		}
	}
	var plain *outbound.PlaintextError
	if errors.As(s.bounds().CheckURL(u), &plain) {
		report("base_url", plain.Error(), plain.Hint())
	}
}

// validate returns the first problem that Check finds.
func (s Server) validate() (err error) {
	s.Check(func(key, message, hint string) {
		if err == nil {
			err = fmt.Errorf("%s: %s (%s)", s.setting(key), message, hint)
		}
	})
	return err
}

// bounds are those of the client.
func (s Server) bounds() outbound.Options {
	return outbound.Options{AllowPlaintext: s.AllowPlaintext, Setting: s.setting("allow_plaintext"), Silence: s.Timeout, MaxBody: maxBody}
}

// At reports whether the server is this host.
func (s Server) At(host string) bool {
	u, err := url.Parse(s.BaseURL)
	return err == nil && strings.EqualFold(strings.TrimSuffix(u.Hostname(), "."), host)
}
