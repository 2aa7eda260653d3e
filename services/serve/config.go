// SPDX-License-Identifier: MIT OR Apache-2.0

package serve

import (
	"time"

	"github.com/blufio/blufio/bus/embedded"
	"github.com/blufio/blufio/services/agent"
	"github.com/blufio/blufio/services/agent/llm/anthropic"
	"github.com/blufio/blufio/services/agent/llm/openai"
	"github.com/blufio/blufio/services/agent/tool"
	"github.com/blufio/blufio/services/backup"
	"github.com/blufio/blufio/services/channel/gateway"
	"github.com/blufio/blufio/services/channel/telegram"
	"github.com/blufio/blufio/services/config"
	"github.com/blufio/blufio/services/cost"
	"github.com/blufio/blufio/services/governor"
	"github.com/blufio/blufio/services/hooks"
	"github.com/blufio/blufio/services/hub"
	"github.com/blufio/blufio/services/recall"
)

// Config is blufio.toml: one section for each room, and three for the house.
type Config struct {
	Agent      agent.Config     `koanf:"agent" doc:"Who answers, and how much at once."`
	Anthropic  anthropic.Config `koanf:"anthropic" doc:"Anthropic's models."`
	OpenAI     openai.Config    `koanf:"openai" doc:"OpenAI, and any server that speaks its Chat Completions."`
	Ollama     openai.Config    `koanf:"ollama" doc:"A model of your own, run by Ollama."`
	OpenRouter openai.Config    `koanf:"openrouter" doc:"Models of many vendors, by way of OpenRouter."`
	Groq       openai.Config    `koanf:"groq" doc:"Models that run at Groq."`
	Routing    agent.Routing    `koanf:"routing" doc:"Which model is asked first, by what is asked; without entries the order of agent.provider counts."`
	Heartbeat  agent.Heartbeat  `koanf:"heartbeat" doc:"Looks of the agent's own, off by default."`
	Extract    agent.Extract    `koanf:"extract" doc:"Looks back at idle conversations for facts to remember, off by default."`
	People     agent.People     `koanf:"people" doc:"Who is one person on several channels, by a name: me = [\"telegram:12345\", \"terminal:owner\"]. What is remembered of one is then remembered of all; without a name here every owner on every channel is a person."`
	Tools      tool.Config      `koanf:"tools" doc:"What the model can do besides talking."`
	Telegram   telegram.Config  `koanf:"telegram" doc:"The Telegram bot."`
	Gateway    gateway.Config   `koanf:"gateway" doc:"The HTTP gateway."`
	Cost       cost.Config      `koanf:"cost" doc:"Budgets and prices."`
	Memory     governor.Config  `koanf:"memory" doc:"How much memory the daemon may use."`
	Recall     recall.Config    `koanf:"recall" doc:"What is known of people, for long."`
	Hooks      hooks.Config     `koanf:"hooks" doc:"Programs of yours that are run at moments of the daemon's life."`
	Backup     backup.Config    `koanf:"backup" doc:"The daemon's own backups."`
	Bus        BusConfig        `koanf:"bus" doc:"The bus and its event stream."`
	Log        LogConfig        `koanf:"log" doc:"What is logged, on stderr."`
	Daemon     DaemonConfig     `koanf:"daemon" doc:"The process."`
}

// BusConfig is the section [bus].
type BusConfig struct {
	Listen     string `koanf:"listen" doc:"Loopback address for the command line and listeners; port 0 is any free one."`
	EventsDays int    `koanf:"events_days" min:"1" max:"3650" doc:"How long events are kept for replay, in days."`
	EventsMB   int    `koanf:"events_mb" min:"1" max:"100000" doc:"How much is kept for replay, in MiB; the oldest go first."`
	EventsText bool   `koanf:"events_text" live:"true" doc:"Put the text of messages into events. Without it they carry ids, sizes, names, money and times."`
	MaxConns   int    `koanf:"max_connections" min:"32" max:"10000" doc:"Most connections, the rooms' own included."`

	Leaf hub.Config `koanf:"leaf" doc:"A hub that this daemon and others are joined to: it gets their events and may ask for their status."`
}

// Check refuses an address that others could reach.
func (c BusConfig) Check(report func(key, message, hint string)) {
	if err := embedded.CheckListen(c.Listen); err != nil {
		report("listen", err.Error(), `write it like "127.0.0.1:4222"; other machines are joined by [bus.leaf]`)
	}
}

// LogConfig is the section [log].
type LogConfig struct {
	Level  string `koanf:"level" live:"true" oneof:"debug,info,warn,error" doc:"The least that is logged."`
	Format string `koanf:"format" oneof:"auto,text,json" doc:"auto is text on a terminal and under systemd, json elsewhere."`
}

// DaemonConfig is the section [daemon].
type DaemonConfig struct {
	DrainTimeout time.Duration `koanf:"drain_timeout" min:"5s" max:"10m" doc:"How long a stop may take; what is not finished then stays in the inbox. Docker kills after 10 s."`
	Node         string        `koanf:"node" doc:"Name of this daemon; empty is the host's name. On a hub it is one word of a-z 0-9 - _."`
}

// Defaults are the settings of a fresh install: it runs without any.
func Defaults() Config {
	return Config{
		Agent: agent.Defaults(), Anthropic: anthropic.Defaults(), OpenAI: openai.Defaults(),
		Ollama: openai.Ollama(), OpenRouter: openai.OpenRouter(), Groq: openai.Groq(),
		Heartbeat: agent.HeartbeatDefaults(), Extract: agent.ExtractDefaults(), Tools: tool.Defaults(), Telegram: telegram.Defaults(), Gateway: gateway.Defaults(), Cost: cost.Defaults(), Memory: governor.Defaults(), Recall: recall.Defaults(), Hooks: hooks.Defaults(), Backup: backup.Defaults(),
		Bus:    BusConfig{Listen: "127.0.0.1:4222", EventsDays: 7, EventsMB: 64, MaxConns: 64},
		Log:    LogConfig{Level: "info", Format: "auto"},
		Daemon: DaemonConfig{DrainTimeout: 8 * time.Second},
	}
}

// Load reads the configuration from its sources, over the defaults.
func Load(src config.Sources) (Config, *config.Loaded, error) {
	c := Defaults()
	loaded, err := config.Load(&c, src)
	return c, loaded, err
}
