// SPDX-License-Identifier: MIT OR Apache-2.0

package anthropic

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm/llmtest/fakellm"
	"github.com/blufio/blufio/services/config"
)

func TestLook(t *testing.T) {
	fake := fakellm.NewAnthropic(t)
	fake.RequireKey("sk-ant-0123456789")
	fake.Clock(time.Hour)
	look := func(key string) (string, []string, time.Time, error) {
		cfg := Defaults()
		cfg.BaseURL, cfg.APIKey = fake.URL(), config.NewSecret(key)
		p, err := New(cfg, Deps{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Look(t.Context())
		return s.Note, s.Models, s.Date, err
	}
	note, models, date, err := look("sk-ant-0123456789")
	if err != nil || note != "" || !slices.Contains(models, "claude-haiku-4-5-20251001") || time.Until(date) < 50*time.Minute {
		t.Errorf("%q, %v, %v, %v", note, models, date, err)
	}
	if _, _, date, err = look("sk-ant-wrong-key"); bus.CodeOf(err) != bus.CodeDenied || date.IsZero() {
		t.Errorf("wrong key: %v, %v", date, err)
	}
	fake.Listing(fakellm.Fails(404, "not_found_error", "Not found"))
	if note, _, _, err = look("sk-ant-0123456789"); err != nil || note == "" {
		t.Errorf("no list: %q, %v", note, err)
	}
	fake.Listing(fakellm.Overloaded())
	if _, _, _, err = look("sk-ant-0123456789"); !errors.Is(err, &bus.Error{Code: bus.CodeUnavailable}) {
		t.Errorf("overloaded: %v", err)
	}
	if len(fake.Bills()) > 0 {
		t.Errorf("a look is billed: %v", fake.Bills())
	}
}

// FuzzModels: whatever a server says, it is read or left.
func FuzzModels(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"a"}],"has_more":false}`))
	f.Add([]byte(`{"data":[{"id":7}]}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if ids := modelIDs(body); len(ids) > len(body) {
			t.Errorf("%d ids in %d bytes", len(ids), len(body))
		}
	})
}
