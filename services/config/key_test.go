// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"slices"
	"testing"
	"time"
	"unicode/utf8"
)

func TestKey(t *testing.T) {
	for _, tt := range []struct {
		key  string
		path []string // nil: refused
	}{
		{"a", []string{"a"}},
		{"a.b_c.d-1", []string{"a", "b_c", "d-1"}},
		{`prices."claude-x.1".input`, []string{"prices", "claude-x.1", "input"}},
		{`"a \"b\" \\ \n\t\u0001é"`, []string{"a \"b\" \\ \n\t\x01é"}},
		{`a.""`, []string{"a", ""}},
		{`a."b`, nil},
		{`a."b"c`, nil},
		{`"\z"`, nil},
	} {
		got, err := splitKey(tt.key)
		if (err != nil) != (tt.path == nil) || !slices.Equal(got, tt.path) {
			t.Errorf("%s: got %q, %v, want %q", tt.key, got, err, tt.path)
		}
		if tt.path != nil && joinKey(tt.path) != tt.key {
			t.Errorf("%q: got %s, want %s", tt.path, joinKey(tt.path), tt.key)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("a", "b.c")
	f.Add("", "\"\\\x00\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		key := joinKey([]string{a, b})
		if got, err := splitKey(key); err != nil || !slices.Equal(got, []string{a, b}) {
			t.Errorf("%s: got %q, %v", key, got, err)
		}
		_, _ = splitKey(a) // no panic
	})
}

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "8s": 8 * time.Second, "1m30s": 90 * time.Second, "10m": 10 * time.Minute,
		"2h": 2 * time.Hour, "1h30m": 90 * time.Minute, "36h": 36 * time.Hour, "30d": 30 * day, "-1d": -day,
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if back, err := ParseDuration(want); back != d || err != nil {
			t.Errorf("%s: got %v, %v", want, back, err)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"listen", "tls_cert", "dir", "metrics_open"}
	for name, want := range map[string]string{
		"lisen": "listen", "LISTEN": "listen", "tls_crt": "tls_cert", "dri": "dir", "metrics": "metrics_open",
		"listeners_of_it": "listen", "zzz": "", "": "", "model": "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
