// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

// What is wrong with the section is said by its own keys, and without the key.
func TestCheck(t *testing.T) {
	at := func(url string) Config { return Config{BaseURL: url} }
	for name, c := range map[string]struct {
		cfg  Config
		want string // beginning of the only problem; "" is fine
		hint string
	}{
		"default":             {Defaults(), "", ""},
		"somewhere":           {at("https://example.com/anthropic/"), "", ""},
		"local":               {at("http://127.0.0.1:8080"), "", ""},
		"in the network":      {at("http://192.168.1.9"), "base_url: 192.168.1.9 is another machine", "anthropic.allow_plaintext = true"},
		"empty":               {at(""), "base_url: it is not a URL", DefaultURL},
		"password":            {at("https://me:secret@example.com"), "base_url: a name and password", "anthropic.api_key"},
		"query":               {at("https://example.com/?key=secret"), "base_url: it goes on behind its path", DefaultURL},
		"with the version":    {at("https://example.com/v1/"), "base_url: it says /v1, which", "leave that off"},
		"the whole endpoint":  {at("https://example.com/v1/messages"), "base_url: it says /v1/messages, which", "leave that off"},
		"key with a line end": {Config{BaseURL: DefaultURL, APIKey: config.NewSecret("secret\n")}, "api_key: it has a space", "copy it again"},
	} {
		t.Run(name, func(t *testing.T) {
			var problems []string
			c.cfg.Check(func(key, message, hint string) { problems = append(problems, key+": "+message+"; "+hint) })
			all := strings.Join(problems, "\n")
			if !strings.HasPrefix(all, c.want) || !strings.Contains(all, c.hint) || (c.want == "") != (len(problems) == 0) || len(problems) > 1 || strings.Contains(all, "secret") {
				t.Error(all)
			}
			if _, err := New(c.cfg, Deps{}); (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), "anthropic.") {
				t.Errorf("New: %v", err)
			}
		})
	}
}

func TestKeyNeeded(t *testing.T) {
	for url, want := range map[string]bool{DefaultURL: true, "https://API.anthropic.com./": true, "https://api.anthropic.com.evil.example": false, "http://127.0.0.1:1": false} {
		if got := (Config{BaseURL: url}).KeyNeeded(); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}
