// SPDX-License-Identifier: MIT OR Apache-2.0

package openai

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/config"
)

func TestLook(t *testing.T) {
	fake := fakellm.NewOpenAI(t)
	fake.RequireKey("sk-0123456789")
	look := func(key string) (llm.Sight, error) {
		cfg := Defaults()
		cfg.BaseURL, cfg.APIKey = fake.URL(), config.NewSecret(key)
		p, err := New(cfg, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Look(t.Context())
	}
	s, err := look("sk-0123456789")
	if err != nil || s.Note != "" || !slices.Contains(s.Models, DefaultModel) || time.Since(s.Date).Abs() > time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = look("sk-wrong-key-000"); bus.CodeOf(err) != bus.CodeDenied || s.Date.IsZero() || strings.Contains(err.Error(), "wrong-key") {
		t.Errorf("wrong key: %+v, %v", s, err)
	}
	for _, c := range []struct {
		answer fakellm.Answer
		code   bus.Code // "" is a note
	}{
		{fakellm.Fails(404, "", "no such path"), ""},
		{fakellm.Fails(403, "", "You have insufficient permissions for this operation. Missing scopes: api.model.read."), ""},
		{fakellm.Fails(403, "", "Country not supported"), bus.CodeDenied},
		{fakellm.Fails(429, "insufficient_quota", "You exceeded your quota"), bus.CodeDenied},
		{fakellm.Limited("3"), bus.CodeUnavailable},
	} {
		fake.Listing(c.answer)
		if s, err := look("sk-0123456789"); bus.CodeOf(err) != c.code || (s.Note == "") != (c.code != "") {
			t.Errorf("%d %s: %+v, %v", c.answer.Status, c.answer.Error, s, err)
		}
	}
	if len(fake.Bills()) > 0 || len(fake.Requests()) > 0 {
		t.Errorf("a look is billed: %v", fake.Bills())
	}
}

// FuzzModels: whatever a server says, it is read or left.
func FuzzModels(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"a"}],"object":"list"}`))
	f.Add([]byte(`{"data":{"label":"sk-or-…"}}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if ids := modelIDs(body); len(ids) > len(body) {
			t.Errorf("%d ids in %d bytes", len(ids), len(body))
		}
	})
}
