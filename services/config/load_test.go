// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/config"
)

func load(t *testing.T, cfg any, s config.Sources) *config.Loaded {
	t.Helper()
	l, err := config.Load(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOrder(t *testing.T) {
	files := write(t,
		"[gateway]\nlisten = 'a'\ntls_cert = 'a'\ntls_key = 'a'\n[log]\nlevel = 'a'",
		"[gateway]\ntls_cert = 'b'\ntls_key = 'b'\n[log]\nlevel = 'b'")
	cfg := defaults()
	l := load(t, &cfg, config.Sources{
		Files:   append(files, "missing.toml"),
		Environ: []string{"BLUFIO_GATEWAY__TLS_KEY=env", "BLUFIO_LOG__LEVEL=env", "BLUFIO_CONFIG=x", "OTHER_BUS__LISTEN=x"},
		Prefix:  "BLUFIO_",
		Flags:   map[string]string{"log.level": "flag"},
	})
	for _, tt := range []struct{ key, value, origin string }{
		{"bus.listen", "127.0.0.1:4222", "default"},
		{"gateway.listen", "a", "a.toml:2:1"},
		{"gateway.tls_cert", "b", "b.toml:2:1"},
		{"gateway.tls_key", "env", "environment BLUFIO_GATEWAY__TLS_KEY"},
		{"log.level", "flag", "flag log.level"},
	} {
		if got, ok := l.Get(tt.key); got != tt.value || !ok {
			t.Errorf("%s = %v, want %s", tt.key, got, tt.value)
		}
		if got := l.Origin(tt.key).String(); got != tt.origin {
			t.Errorf("%s is from %s, want %s", tt.key, got, tt.origin)
		}
	}
	if got := l.Files(); !slices.Equal(got, files) {
		t.Errorf("files %v, want %v", got, files)
	}
	if cfg.Log.Level != "flag" || cfg.Gateway.Key != "env" || cfg.Gateway.Listen != "a" {
		t.Errorf("got %+v", cfg)
	}
}

// TestUseless: a variable with one underscore where two belong is not passed over, and
// one that is no key is somebody else's.
func TestUseless(t *testing.T) {
	cfg := defaults()
	l := load(t, &cfg, config.Sources{Prefix: "BLUFIO_", Environ: []string{"BLUFIO_GATEWAY_LISTEN=x", "BLUFIO_GATEWAY_TLS_CERT=x",
		"BLUFIO_CONFIG=x", "BLUFIO_DATA_DIR=x", "BLUFIO_VAULT_KEY=x", "BLUFIO_GATEWAY=x", "BLUFIO_=x", "OTHER_GATEWAY_LISTEN=x", "BLUFIO_LOG__LEVEL=y"}})
	want := "environment BLUFIO_GATEWAY_LISTEN: it sets nothing (did you mean BLUFIO_GATEWAY__LISTEN?)\n" +
		"environment BLUFIO_GATEWAY_TLS_CERT: it sets nothing (did you mean BLUFIO_GATEWAY__TLS_CERT?)"
	if got := l.Useless().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if cfg.Gateway.Listen != defaults().Gateway.Listen {
		t.Error("it sets something")
	}
}

func TestValues(t *testing.T) {
	for _, tt := range []struct {
		name string
		file string
		env  []string
		want func(*house)
	}{
		{name: "defaults", want: func(*house) {}},
		{name: "one provider", file: "agent.provider = 'x'", want: func(h *house) { h.Agent.Provider = config.StringList{"x"} }},
		{name: "providers", file: "agent.provider = ['x', 'y']", want: func(h *house) { h.Agent.Provider = config.StringList{"x", "y"} }},
		{name: "no provider", file: "agent.provider = []", want: func(h *house) { h.Agent.Provider = config.StringList{} }},
		{name: "providers in the environment", env: []string{"B_AGENT__PROVIDER=x, y,"}, want: func(h *house) { h.Agent.Provider = config.StringList{"x", "y"} }},
		{name: "list of integers", file: "agent.allow = [1, -2]", want: func(h *house) { h.Agent.Allow = []int64{1, -2} }},
		{name: "integers in the environment", env: []string{"B_AGENT__ALLOW=1,-2"}, want: func(h *house) { h.Agent.Allow = []int64{1, -2} }},
		{name: "long duration", file: "bus.keep = '2w'", want: func(h *house) { h.Bus.Days = 14 * 24 * time.Hour }},
		{name: "integer for a float", file: "cost.daily_usd = 5", want: func(h *house) { h.Cost.Daily = 5 }},
		{name: "unsigned", file: "bus.port = 65535", want: func(h *house) { h.Bus.Port = 65535 }},
		{name: "boolean in the environment", env: []string{"B_GATEWAY__BEHIND_PROXY=true"}, want: func(h *house) { h.Gateway.Proxied = true }},
		{name: "secret", file: "gateway.token = 'hunter2'", want: func(h *house) { h.Gateway.Token = config.NewSecret("hunter2") }},
		{name: "empty overrides", file: "gateway.listen = ''", want: func(h *house) { h.Gateway.Listen = "" }},
		{name: "an entry keeps its other defaults", file: "[cost.prices.'claude-x.1']\ninput = 4",
			want: func(h *house) { h.Cost.Prices = map[string]price{"claude-x.1": {Input: 4, Output: 15}} }},
		{name: "an entry beside the default", file: "[cost.prices]\n'gpt 4.1' = { free = true }\n[cost.labels]\n'a.b' = 'c'",
			env: []string{"B_COST__PRICES__Mixed-1.5__INPUT=2"},
			want: func(h *house) {
				h.Cost.Prices = map[string]price{"claude-x.1": {Input: 3, Output: 15}, "gpt 4.1": {Free: true}, "Mixed-1.5": {Input: 2}}
				h.Cost.Labels = map[string]string{"a.b": "c"}
			}},
		{name: "an entry and its beginning", file: "[cost.prices.'a.b']\ninput = 1\n[cost.prices.a]\ninput = 2",
			want: func(h *house) {
				h.Cost.Prices = map[string]price{"claude-x.1": {Input: 3, Output: 15}, "a.b": {Input: 1}, "a": {Input: 2}}
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, want := defaults(), defaults()
			tt.want(&want)
			load(t, &cfg, config.Sources{Files: write(t, tt.file), Environ: tt.env, Prefix: "B_"})
			if !reflect.DeepEqual(cfg, want) {
				t.Errorf("got  %+v\nwant %+v", cfg, want)
			}
		})
	}
}

// Types that read and write their own text, as value and as default.
func TestText(t *testing.T) {
	type texts struct {
		Level slog.Level      `koanf:"level"`
		Addr  netip.Addr      `koanf:"addr"`
		List  []netip.Addr    `koanf:"list"`
		Keys  []config.Secret `koanf:"keys"`
		Tiny  int8            `koanf:"tiny"`
		Small uint8           `koanf:"small" min:"0"`
	}
	cfg := texts{Level: slog.LevelWarn, Addr: netip.MustParseAddr("::1"), Keys: []config.Secret{config.NewSecret("a")}}
	l := load(t, &cfg, config.Sources{})
	for key, want := range map[string]any{"level": "WARN", "addr": "::1", "list": []any{}, "keys": "[redacted]"} {
		if got, ok := l.Get(key); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %v, want %v", key, got, want)
		}
	}
	load(t, &cfg, config.Sources{Flags: map[string]string{"level": "debug", "list": "::1,10.0.0.1", "keys": "b,c", "tiny": "-128", "small": "0"}})
	if cfg.Level != slog.LevelDebug || len(cfg.List) != 2 || cfg.Keys[1].Reveal() != "c" || cfg.Tiny != -128 || !cfg.Addr.Is6() {
		t.Errorf("got %+v", cfg)
	}
	_, err := config.Load(&cfg, config.Sources{Flags: map[string]string{"tiny": "128", "small": "-1", "keys": "x", "list": "::1,x"}})
	want := `flag list: "list" item 2 is malformed: ParseAddr("x"): unable to parse IP
flag small: "small" must be 0 to 255, not -1
flag tiny: "tiny" must be -128 to 127, not 128`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// pin is a secret of another package, with an error that tells too much.
type pin struct{ digits string }

func (p pin) Reveal() string { return p.digits }

func (p *pin) UnmarshalText(text []byte) error {
	if p.digits = string(text); len(text) != 4 {
		return errors.New("bad pin " + p.digits)
	}
	return nil
}

func TestForeignTypes(t *testing.T) {
	cfg := struct {
		Pin   pin       `koanf:"pin"`
		Since time.Time `koanf:"since"`
	}{}
	l := load(t, &cfg, config.Sources{Flags: map[string]string{"pin": "1234"}})
	if got, _ := l.Get("pin"); got != "[redacted]" || cfg.Pin.digits != "1234" {
		t.Errorf("got %v, %v", got, cfg.Pin)
	}
	if got, _ := l.Get("since"); got != "" {
		t.Errorf("a time that is not set is %v", got)
	}
	_, err := config.Load(&cfg, config.Sources{Flags: map[string]string{"pin": "12345"}})
	if want := `flag pin: "pin" is malformed`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A later file that only opens a section takes nothing away.
func TestEmptySectionKeeps(t *testing.T) {
	cfg := defaults()
	load(t, &cfg, config.Sources{Files: write(t, "[cost.prices.x]\ninput = 1", "[cost]\n[cost.prices.x]\n[gateway]")})
	if cfg.Cost.Prices["x"].Input != 1 || len(cfg.Cost.Prices) != 2 || cfg.Gateway.Listen == "" {
		t.Errorf("got %+v", cfg)
	}
}

// The struct may share its lists and maps with others.
func TestDefaultsAreNotWrittenThrough(t *testing.T) {
	shared := defaults()
	cfg := shared
	load(t, &cfg, config.Sources{Flags: map[string]string{
		"agent.provider": "other", `cost.prices."claude-x.1".input`: "9", "cost.prices.new.input": "1",
	}})
	if !reflect.DeepEqual(shared, defaults()) {
		t.Errorf("the defaults became %+v", shared)
	}
}

func TestGet(t *testing.T) {
	cfg := defaults()
	l := load(t, &cfg, config.Sources{Files: write(t, "gateway.token = 'hunter2'\nagent.allow = [7]\n[cost.prices.m]\ninput = 1.5")})
	for key, want := range map[string]any{
		"node":                            "",
		"agent.provider":                  []any{"offline"},
		"agent.allow":                     []any{int64(7)},
		"agent.max_sessions":              int64(100),
		"bus.keep":                        "7d",
		"bus.port":                        uint64(0),
		"gateway.token":                   "[redacted]",
		"gateway.trusted":                 "",
		"gateway.behind_proxy":            false,
		"cost.prices.m.input":             1.5,
		`cost.prices."claude-x.1".output`: 15.0,
	} {
		if got, ok := l.Get(key); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s = %#v %v, want %#v", key, got, ok, want)
		}
	}
	for _, key := range []string{"", "gateway", "gateway.lisen", "cost.prices.none.input", "cost.prices.m", "node.x", `"x`} {
		if got, ok := l.Get(key); ok {
			t.Errorf("%s = %v, want none", key, got)
		}
	}
	keys := l.Keys()
	if keys[0] != "node" || keys[1] != "agent.provider" || !slices.Contains(keys, `cost.prices."claude-x.1".free`) {
		t.Errorf("keys %v", keys)
	}
	for _, key := range keys {
		if _, ok := l.Get(key); !ok {
			t.Errorf("no value for %s", key)
		}
	}
}

func TestDefaultOutOfBounds(t *testing.T) {
	cfg := defaults()
	cfg.Agent.Sessions = 5000
	_, err := config.Load(&cfg, config.Sources{})
	if want := `default: "agent.max_sessions" must be at most 1000, not 5000`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Mistakes of the program are errors, but not Problems of the owner.
func TestBadSchema(t *testing.T) {
	type loop struct {
		Next map[string]loop `koanf:"next"`
	}
	for _, tt := range []struct {
		name string
		into any
		want string
	}{
		{"nil", nil, "not a pointer"},
		{"no pointer", house{}, "not a pointer"},
		{"no struct", new(int), "not a struct"},
		{"type", &struct {
			C chan int `koanf:"c"`
		}{}, "c: no configuration of type chan int"},
		{"name", &struct {
			C string `koanf:"a__b"`
		}{}, "a__b: field C needs"},
		{"twice", &struct {
			A string `koanf:"x"`
			B string `koanf:"x"`
		}{}, "x: field B needs"},
		{"bound", &struct {
			A int `koanf:"a" min:"few"`
		}{}, `a: tag min: "few" is no bound of int`},
		{"oneof", &struct {
			A int `koanf:"a" oneof:"1,2"`
		}{}, "tag oneof: int is not text"},
		{"loop", &loop{}, "no configuration of type"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Load(tt.into, config.Sources{})
			var ps config.Problems
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.As(err, &ps) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestChoices: only keys with a closed list of values have choices.
func TestChoices(t *testing.T) {
	h := defaults()
	l, err := config.Load(&h, config.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"log.format": "auto text json", "log.level": "", "log": "", "nope.at_all": "", "log.format.x": "", `"`: ""} {
		if got := strings.Join(l.Choices(key), " "); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}
