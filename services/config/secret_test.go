// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/config"
)

func TestSecretShowsNothing(t *testing.T) {
	secret := config.NewSecret("hunter2")
	type holder struct {
		Open   config.Secret
		closed config.Secret
		list   []config.Secret
	}
	h := holder{secret, secret, []config.Secret{secret}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, v := range []any{secret, &secret, h, &h, fmt.Errorf("wrap %v", secret)} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "secret", secret, "holder", h)
	}
	if err := json.NewEncoder(&out).Encode(map[string]any{"s": secret, "h": h}); err != nil {
		t.Fatal(err)
	}
	if s := strings.ToLower(out.String()); strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the secret shows in %s", s)
	}
	if got := fmt.Sprintf("%q %v", secret, config.Secret{}); got != "[redacted] " {
		t.Errorf("got %s", got)
	}
	if secret.Reveal() != "hunter2" || !config.NewSecret("").IsZero() {
		t.Error("the secret is not what was put in")
	}
}

func TestParseDuration(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration // 0: refused
	}{
		{"8s", 8 * time.Second},
		{"1m30s", 90 * time.Second},
		{"30d", 720 * time.Hour},
		{"1.5d", 36 * time.Hour},
		{"1w2d12h", (9*24 + 12) * time.Hour},
		{"-1d12h", -36 * time.Hour},
		{"1d1w", 0}, {"d", 0}, {"30", 0}, {"1d-2h", 0}, {"1e3d", 0}, {"infd", 0}, {"99999999w", 0}, {"1dd", 0}, {"--1d", 0}, {"", 0},
	} {
		got, err := config.ParseDuration(tt.text)
		if got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%q: got %v, %v, want %v", tt.text, got, err, tt.want)
		}
	}
}
