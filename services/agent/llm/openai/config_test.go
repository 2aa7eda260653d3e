// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"fmt"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string // "" is fine
		hint string
	}{
		"default":             {Defaults(), "", ""},
		"trailing slash":      {Config{BaseURL: "https://openrouter.ai/api/v1/"}, "", ""},
		"local":               {Config{BaseURL: "http://127.0.0.1:11434/v1"}, "", ""},
		"local by name":       {Config{BaseURL: "http://localhost:1234/v1"}, "", ""},
		"in the network":      {Config{BaseURL: "http://192.168.1.9:11434/v1"}, "base_url: 192.168.1.9 is another machine", "openai.allow_plaintext = true"},
		"allowed there":       {Config{BaseURL: "http://192.168.1.9:11434/v1", AllowPlaintext: true}, "", ""},
		"empty":               {Config{}, "base_url: it is not a URL", "write it like"},
		"no scheme":           {Config{BaseURL: "localhost:11434/v1"}, "base_url: it is not a URL", "write it like"},
		"not parsed":          {Config{BaseURL: "http://[::1"}, "base_url: it is not a URL", "write it like"},
		"password":            {Config{BaseURL: "https://me:secret@example.com/v1"}, "base_url: a name and password", "openai.api_key"},
		"query":               {Config{BaseURL: "https://example.com/v1?key=secret"}, "base_url: it goes on behind its path", "write it like"},
		"the whole endpoint":  {Config{BaseURL: "https://example.com/v1/chat/completions"}, "base_url: it says /chat/completions", "leave that off"},
		"key with a line end": {Config{BaseURL: DefaultURL, APIKey: config.NewSecret("secret\n")}, "api_key: it has a space, a line end", "copy it again"},
		"key with quotes":     {Config{BaseURL: DefaultURL, APIKey: config.NewSecret("“secret”")}, "api_key: it has a space", "copy it again"},
	} {
		t.Run(name, func(t *testing.T) {
			var got, hints []string
			c.cfg.Check(func(key, message, hint string) {
				got, hints = append(got, key+": "+message), append(hints, hint)
			})
			all := fmt.Sprint(got, hints)
			switch {
			case c.want == "" && len(got) > 0, c.want != "" && len(got) != 1, strings.Contains(all, "secret"):
				t.Errorf("%s", all)
			case c.want != "" && (!strings.HasPrefix(got[0], c.want) || !strings.Contains(hints[0], c.hint)):
				t.Errorf("%s", all)
			}
			if _, err := New(c.cfg, Deps{}); (err == nil) != (c.want == "") {
				t.Errorf("New: %v", err)
			}
		})
	}
}
