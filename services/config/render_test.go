// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/config"
)

func TestExampleLoads(t *testing.T) {
	example := config.Example(defaults())
	cfg, want := defaults(), defaults()
	load(t, &cfg, config.Sources{Files: write(t, example)})
	want.Cost.Labels = map[string]string{} // its header makes the map
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("the example changes the defaults to %+v", cfg)
	}

	// With every key counting it says the same, and adds the entries it shows.
	all := regexp.MustCompile(`(?m)^#([^ ])`).ReplaceAllString(example, "$1")
	cfg, want = defaults(), defaults()
	l := load(t, &cfg, config.Sources{Files: write(t, all)})
	want.Cost.Prices["NAME"] = price{}
	want.Cost.Labels = map[string]string{"NAME": ""}
	want.Agent.Allow = []int64{}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v\nfrom %s", cfg, want, all)
	}
	for _, key := range l.Keys() {
		if l.Origin(key).Source != config.FromFile && !strings.Contains(key, "claude") {
			t.Errorf("%s is not in the example", key)
		}
	}
}

// The defaults as a file set every key, and change nothing.
func TestDefaultFileLoads(t *testing.T) {
	cfg, want := defaults(), defaults()
	l := load(t, &cfg, config.Sources{Files: write(t, config.DefaultFile(defaults()))})
	want.Cost.Labels = map[string]string{}
	want.Agent.Allow = []int64{}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("the file changes the defaults to %+v", cfg)
	}
	for _, key := range l.Keys() {
		if l.Changed(key) {
			t.Errorf("%s is said to be changed", key)
		}
		if l.Origin(key).Source != config.FromFile && !strings.Contains(key, "claude") {
			t.Errorf("%s is not in the file", key)
		}
	}
}

func TestExampleText(t *testing.T) {
	type deep struct {
		Level int `koanf:"level" doc:"How deep."`
	}
	cfg := struct {
		Token config.Secret `koanf:"token" doc:"A doc so long that it does not fit on only one line of at most eighty-eight characters."`
		Sub   struct {
			Deep deep   `koanf:"deep" doc:"Below."`
			Name string `koanf:"name" doc:"A \"name\"." oneof:"a,b"`
		} `koanf:"sub" doc:"A section."`
		Many map[string]struct {
			Deep deep `koanf:"deep" doc:"Below."`
		} `koanf:"many" doc:"Entries."`
	}{Token: config.NewSecret("hunter2")}
	cfg.Sub.Name = "a"
	want := `# A doc so long that it does not fit on only one line of at most eighty-eight
# characters.
#token = "[redacted]"

# A section.
[sub]
# A "name". One of "a", "b".
#name = "a"

# Below.
[sub.deep]
# How deep.
#level = 0

# Entries.
#[many."NAME"]

# Below.
#[many.NAME.deep]
# How deep.
#level = 0
`
	if got := config.Example(&cfg); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestReference(t *testing.T) {
	got := config.Reference(defaults())
	for _, want := range []string{
		"| Key | Type | Default | Meaning | Bounds | Takes effect |\n|---|---|---|---|---|---|\n| `node` | text | `\"\"` |",
		"| `agent.provider` | text or list | `[\"offline\"]` | Model provider, or several to fall back on. |  | restart |\n",
		"| `gateway.token` | secret | `\"\"` |",
		"| `bus.keep` | duration | `\"7d\"` | How long events are kept. | 1h to 4w | restart |\n",
		"| `cost.prices.NAME.input` | number | `0.0` |",
		"| `cost.labels.NAME` | text | `\"\"` | Free labels. |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestUndocumented(t *testing.T) {
	if got := config.Undocumented(defaults()); got != nil {
		t.Errorf("got %v", got)
	}
	got := config.Undocumented(struct {
		A string   `koanf:"a"`
		B chan int `koanf:"b" doc:"No."`
		C struct {
			D map[string]bool `koanf:"d"`
		} `koanf:"c" doc:"Yes."`
	}{})
	want := []string{"read schema: b: no configuration of type chan int", "a", "c.d"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if config.Example(3) != "" || len(config.Undocumented(nil)) != 1 || !strings.HasPrefix(config.Reference((*house)(nil)), "| Key") {
		t.Error("no panic, but something out of nothing")
	}
}
