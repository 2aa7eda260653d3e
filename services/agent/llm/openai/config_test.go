// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
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

// A preset is a provider of its own: it has its own name and address, and what it
// says is wrong names its own section.
func TestPresets(t *testing.T) {
	for name, c := range map[string]struct {
		cfg Config
		key bool
	}{"openai": {Defaults(), true}, "ollama": {Ollama(), false}, "openrouter": {OpenRouter(), true}, "groq": {Groq(), true}} {
		t.Run(name, func(t *testing.T) {
			p, err := New(c.cfg, Deps{})
			if err != nil {
				t.Fatal(err)
			}
			if p.Name() != name || (p.Model() == "") != (name != Name) || c.cfg.KeyNeeded() != c.key {
				t.Errorf("name %q, model %q, key needed: %v", p.Name(), p.Model(), c.cfg.KeyNeeded())
			}
			var e *bus.Error
			if err := p.explain(401, &apiError{}, "m"); !errors.As(err, &e) || !strings.Contains(e.Hint, "set-secret "+name+".api_key") {
				t.Errorf("hint: %+v", e)
			}
			bad := c.cfg
			bad.BaseURL = "http://192.168.1.9/v1"
			if _, err := New(bad, Deps{}); err == nil || !strings.Contains(err.Error(), name+".allow_plaintext") || !strings.HasPrefix(err.Error(), name+".base_url") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// What a vendor will not have answered is no failure of the provider, and what is
// too long is told apart.
func TestKindsOfRefusal(t *testing.T) {
	p, err := New(OpenRouter(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status           int
		e                apiError
		refused, tooLong bool
	}{
		"moderation": {403, apiError{Message: "anthropic/claude requires moderation. Your input was flagged for violence."}, true, false},
		"filter":     {400, apiError{Code: "content_filter"}, true, false},
		"forbidden":  {403, apiError{Message: "no"}, false, false},
		"length":     {400, apiError{Code: "context_length_exceeded"}, false, true},
		"no credit":  {402, apiError{}, false, false},
	} {
		if err := p.explain(c.status, &c.e, "m"); llm.IsRefused(err) != c.refused || llm.IsTooLong(err) != c.tooLong {
			t.Errorf("%s: %v is refused: %v, too long: %v", name, err, llm.IsRefused(err), llm.IsTooLong(err))
		}
	}
}
