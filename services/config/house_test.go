// SPDX-License-Identifier: MIT OR Apache-2.0

package config_test

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/blufio/blufio/services/config"
)

// house is a configuration with one field of every kind.
type house struct {
	Node    string  `koanf:"node" doc:"Name of this daemon."`
	Agent   agent   `koanf:"agent" doc:"Who answers."`
	Gateway gateway `koanf:"gateway" doc:"The HTTP door."`
	Bus     bus     `koanf:"bus" doc:"The bus inside."`
	Cost    cost    `koanf:"cost" doc:"What it may cost."`
	Log     logs    `koanf:"log" doc:"What is logged."`

	Clock func() time.Time // not configuration
}

type agent struct {
	Provider config.StringList `koanf:"provider" doc:"Model provider, or several to fall back on."`
	Model    string            `koanf:"model" doc:"Model; empty means the provider's own choice."`
	Sessions int               `koanf:"max_sessions" doc:"Sessions at once." min:"1" max:"1000"`
	Allow    []int64           `koanf:"allow" doc:"Users who may talk." max:"3"`
}

type gateway struct {
	Listen  string        `koanf:"listen" doc:"Address to listen on."`
	Cert    string        `koanf:"tls_cert" doc:"Certificate file."`
	Key     string        `koanf:"tls_key" doc:"Key file."`
	Proxied bool          `koanf:"behind_proxy" doc:"A proxy in front ends TLS."`
	Token   config.Secret `koanf:"token" doc:"Bearer token."`
	Trusted netip.Addr    `koanf:"trusted" doc:"Address of the proxy."`
}

func (g gateway) Check(report func(key, message, hint string)) {
	if g.Cert != "" && g.Key == "" {
		report("tls_key", "is missing though tls_cert is set", "set both or neither")
	}
}

type bus struct {
	Listen string        `koanf:"listen" doc:"Address to listen on."`
	Port   uint16        `koanf:"port" doc:"TCP port."`
	Days   time.Duration `koanf:"keep" doc:"How long events are kept." min:"1h" max:"4w"`
}

type cost struct {
	Daily  float64           `koanf:"daily_usd" doc:"Limit per day." min:"0"`
	Prices map[string]price  `koanf:"prices" doc:"Prices by model."`
	Labels map[string]string `koanf:"labels" doc:"Free labels."`
}

type price struct {
	Input  float64 `koanf:"input" doc:"USD per million tokens read."`
	Output float64 `koanf:"output" doc:"USD per million tokens written."`
	Free   bool    `koanf:"free" doc:"Costs nothing."`
}

func (p price) Validate() error {
	if p.Free && p.Input+p.Output > 0 {
		return errors.New("a free model has no price")
	}
	return nil
}

type level string

func (l level) Validate() error {
	if l == "loud" {
		return errors.New("too loud")
	}
	return nil
}

type logs struct {
	Level  level  `koanf:"level" doc:"Least level."`
	Format string `koanf:"format" doc:"Form of a line." oneof:"auto,text,json"`
}

func defaults() house {
	return house{
		Agent:   agent{Provider: config.StringList{"offline"}, Sessions: 100},
		Gateway: gateway{Listen: "127.0.0.1:3000"},
		Bus:     bus{Listen: "127.0.0.1:4222", Days: 7 * 24 * time.Hour},
		Cost:    cost{Prices: map[string]price{"claude-x.1": {Input: 3, Output: 15}}},
		Log:     logs{Level: "info", Format: "auto"},
	}
}

// write puts documents into files and moves to their directory, so that messages
// show bare names.
func write(t *testing.T, documents ...string) []string {
	t.Helper()
	t.Chdir(t.TempDir())
	names := make([]string, len(documents))
	for i, d := range documents {
		names[i] = []string{"a.toml", "b.toml", "c.toml"}[i]
		if err := os.WriteFile(names[i], []byte(d), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}
