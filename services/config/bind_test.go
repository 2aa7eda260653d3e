// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "blufio.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// store is where live secrets come from.
type store map[string]string

type at struct {
	store store
	name  string
}

func (a at) IsSet() bool { return a.store[a.name] != "" }

func (a at) Text() (string, error) {
	if a.store[a.name] == "broken" {
		return "", errors.New("not available")
	}
	return a.store[a.name], nil
}

// A live secret is what its source says now, and shows itself as little as any other.
func TestLiveSecret(t *testing.T) {
	values := store{}
	s := config.NewLiveSecret(at{values, "k"})
	copied := struct{ inner config.Secret }{s}
	for _, text := range []string{"", "first", "second", ""} {
		values["k"] = text
		if got, err := s.Open(); got != text || err != nil || s.Reveal() != text || s.IsZero() != (text == "") || !s.IsLive() {
			t.Errorf("%q, %v, zero %v; want %q", got, err, s.IsZero(), text)
		}
		want := ""
		if text != "" {
			want = "[redacted]"
		}
		if got := s.String(); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
		var shown bytes.Buffer
		fmt.Fprintf(&shown, "%v %+v %#v %s %q %x %v %+v %#v", s, s, s, s, s, s, copied, copied, &copied)
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "s", s, "in", struct{ S config.Secret }{s})
		if data, err := json.Marshal(s); err != nil || string(data) != `"`+want+`"` {
			t.Errorf("%s, %v", data, err)
		}
		if text != "" && strings.Contains(shown.String(), text) {
			t.Errorf("shown: %s", &shown)
		}
	}
	values["k"] = "broken"
	if got, err := s.Open(); got != "" || err == nil || s.Reveal() != "" || s.IsZero() {
		t.Errorf("%q, %v", got, err)
	}
	if plain := config.NewSecret("x"); plain.IsLive() {
		t.Error("a plain secret is live")
	}
}

func TestBind(t *testing.T) {
	type section struct {
		Key   config.Secret `koanf:"key" doc:"A secret."`
		Other string        `koanf:"other" doc:"No secret."`
	}
	var cfg struct {
		Token   config.Secret      `koanf:"token" doc:"A secret."`
		Model   section            `koanf:"model" doc:"A section."`
		Entries map[string]section `koanf:"entries" doc:"Free names."`
	}
	if got, want := config.SecretKeys(cfg), []string{"token", "model.key"}; !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
	cfg.Token = config.NewSecret("old")
	values := store{"token": "new"}
	err := config.Bind(&cfg, func(key string, s config.Secret) config.Secret {
		if key == "token" && s.Reveal() != "old" {
			t.Errorf("%s was %q", key, s.Reveal())
		}
		return config.NewLiveSecret(at{values, key})
	})
	if err != nil || cfg.Token.Reveal() != "new" || !cfg.Model.Key.IsZero() {
		t.Errorf("%v: token %q", err, cfg.Token.Reveal())
	}
	values["model.key"] = "later"
	if cfg.Model.Key.Reveal() != "later" {
		t.Error("the section's secret is not live")
	}
	if err := config.Bind(cfg, nil); err == nil {
		t.Error("a struct that cannot be changed was bound")
	}
}

func TestSecretsInFiles(t *testing.T) {
	var cfg house
	l, err := config.Load(&cfg, config.Sources{Files: []string{configFile(t, "[gateway]\ntoken = \"sesame\"\nlisten = \"x\"\n")}})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.SecretsInFiles(); !slices.Equal(got, []string{"gateway.token"}) {
		t.Errorf("%v", got)
	}
	if !l.IsSecret("gateway.token") || l.IsSecret("gateway.listen") || l.IsSecret("gateway") || l.IsSecret("no.such") {
		t.Error("what is a secret is not known")
	}
	cfg = house{}
	l, err = config.Load(&cfg, config.Sources{Files: []string{configFile(t, "[gateway]\ntoken = \"sesame\"\n")}, Prefix: "BLUFIO_", Environ: []string{"BLUFIO_GATEWAY__TOKEN=other", "BLUFIO_VAULT_KEY=x"}})
	if err != nil || len(l.SecretsInFiles()) != 0 {
		t.Errorf("%v, %v", l, err)
	}
}
