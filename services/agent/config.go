// SPDX-License-Identifier: MIT OR Apache-2.0

package agent

import (
	"fmt"
	"os"
	"time"
	"unicode/utf8"

	"github.com/blufio/blufio/services/config"
)

// Config is the section [agent].
type Config struct {
	Provider         config.StringList `koanf:"provider" doc:"Who answers, in the order in which they are asked: \"offline\" (no model), \"anthropic\", \"openai\", \"ollama\", \"openrouter\" or \"groq\", each also with a model, as in \"openrouter/meta-llama/llama-3.3-70b-instruct\". The next one is asked when one fails."`
	Model            string            `koanf:"model" doc:"Model of the first entry of provider that names none; empty is that provider's default."`
	Name             string            `koanf:"name" live:"true" doc:"What the agent calls itself."`
	SystemPrompt     string            `koanf:"system_prompt" live:"true" doc:"Replaces the built-in instructions to the model."`
	SystemPromptFile string            `koanf:"system_prompt_file" live:"true" doc:"File that holds the instructions instead; at most 64 KiB. A reload reads it again."`
	MaxSessions      int               `koanf:"max_sessions" min:"1" max:"1000000" doc:"Most sessions with unanswered messages at one time; a message for one more is told to try again later."`
	MaxQueue         int               `koanf:"max_queue" min:"1" max:"1000000" doc:"Most unanswered messages; one more is told to try again later."`
	MaxOutbox        int               `koanf:"max_outbox" min:"1" max:"1000000" doc:"Most undelivered replies; beyond, messages are told to try again later."`
	MaxTextBytes     int               `koanf:"max_text_bytes" live:"true" min:"1" max:"262144" doc:"Longest message, in bytes."`
	MaxTurns         int               `koanf:"max_turns" min:"1" max:"10000" doc:"Most turns at one time; further sessions wait. While memory is short it is a quarter."`
	MaxDeliveries    int               `koanf:"max_deliveries" min:"1" max:"1000" doc:"Most replies on their way at one time on one channel; more wait."`
	PicturesMB       int               `koanf:"pictures_mb" min:"1" max:"1000" doc:"Most bytes of pictures that models are asked about at one time, in MiB; further turns with pictures wait, and what is more in one message the model knows by name only."`
	MaterialMB       int               `koanf:"material_mb" min:"1" max:"1000" doc:"Most bytes of text files, and of what tools are asked and bring back, that turns hold at one time, in MiB, beside 16 KiB of each. Further turns with files wait; what tools bring back beyond it is cut short."`
	MaxRounds        int               `koanf:"max_rounds" min:"1" max:"50" doc:"Most rounds of tools in one turn; then the model is asked once more and has to answer with what it has."`
	MaxReplyTokens   int64             `koanf:"max_reply_tokens" live:"true" min:"1" max:"64000" doc:"Longest answer of a model call, in tokens."`
	HistoryTokens    int64             `koanf:"history_tokens" live:"true" min:"0" max:"1000000" doc:"How much of a conversation goes along with a new message, in tokens. With less than 200 nothing is summarised."`
	RecallTokens     int64             `koanf:"recall_tokens" min:"0" max:"100000" doc:"How much of what is known of a person goes along with a new message, in tokens; 0: nothing is looked up."`
	CompactSoft      float64           `koanf:"compact_soft" min:"0.3" max:"1" doc:"From what share of history_tokens on the older part of a conversation is summarised, in the background."`
	CompactHard      float64           `koanf:"compact_hard" min:"0.3" max:"1" doc:"From what share of history_tokens on it is summarised before the next message is answered; where that fails, the oldest is no longer looked at."`
	CompactUSD       float64           `koanf:"compact_monthly_usd" min:"0" max:"1000000" doc:"Most that all summaries may cost in a calendar month, in US dollars, within the budgets of [cost]; 0: none are made. The model is routing.simple, or else the first of agent.provider."`
	TurnTimeout      time.Duration     `koanf:"turn_timeout" min:"1s" max:"1h" doc:"Longest time for one turn, all model calls and tools together. Of what is left, a model leaves a quarter for each one behind it."`
	BreakerFailures  int               `koanf:"breaker_failures" min:"1" max:"1000" doc:"After so many failures in a row a provider is not asked for a while."`
	BreakerPause     time.Duration     `koanf:"breaker_pause" min:"1s" max:"1h" doc:"How long a provider that fails is not asked; then one call tries."`
	ReplyExpires     time.Duration     `koanf:"reply_expires" min:"1m" max:"90d" doc:"How long an undeliverable reply is tried before it becomes a dead letter."`
	KeepHistory      time.Duration     `koanf:"keep_history" min:"1d" max:"3650d" doc:"How long answered messages are kept, and dead letters."`
	KeepAccepted     time.Duration     `koanf:"keep_accepted" min:"1h" max:"365d" doc:"How long a source's message id is remembered, to drop duplicates."`
}

// Check reports what no bound of a single key can say.
func (c Config) Check(report func(key, message, hint string)) {
	if c.CompactSoft > c.CompactHard {
		report("compact_soft", fmt.Sprintf("%g is more than agent.compact_hard, %g", c.CompactSoft, c.CompactHard), "with both alike nothing is summarised before it has to be")
	}
}

// pictureCopies is how many times a picture is there while a model is asked: as it is,
// in base64, and in the request that is made of that.
const pictureCopies = 4

// PictureBytes is the most memory, in bytes, that pictures can take at once.
func (c Config) PictureBytes() int64 { return int64(c.PicturesMB) * pictureCopies << 20 }

// materialCopies is how many times a text is there while a model is asked: as it is, and
// in the request that is made of it.
const materialCopies = 2

// MaterialBytes is the most memory, in bytes, that text files and what tools bring back
// can take at once.
func (c Config) MaterialBytes() int64 { return int64(c.MaterialMB) * materialCopies << 20 }

const maxPromptFile = 64 << 10 // bytes

// prompt returns the instructions to the model.
func (c Config) prompt() (string, error) {
	if c.SystemPromptFile != "" {
		data, err := os.ReadFile(c.SystemPromptFile)
		if err != nil {
			return "", fmt.Errorf("read agent.system_prompt_file: %w", err)
		}
		if len(data) > maxPromptFile || !utf8.Valid(data) {
			return "", fmt.Errorf("read agent.system_prompt_file %s: it must be UTF-8 text of at most %d bytes", c.SystemPromptFile, maxPromptFile)
		}
		return string(data), nil
	}
	if c.SystemPrompt != "" {
		return c.SystemPrompt, nil
	}
	return fmt.Sprintf("You are %s, the personal assistant of the person you talk to. Answer briefly and plainly. "+
		"Use the tools when they help; do not guess what a tool can tell you.", c.Name), nil
}

// Defaults are the settings of a fresh install.
func Defaults() Config {
	return Config{
		Provider: config.StringList{"offline"}, Name: "blufio",
		MaxSessions: 10_000, MaxQueue: 10_000, MaxOutbox: 20_000, MaxTextBytes: 64 << 10,
		MaxTurns: 256, MaxDeliveries: 64, PicturesMB: 6, MaterialMB: 4, MaxRounds: 8, MaxReplyTokens: 2048, HistoryTokens: 4000,
		RecallTokens: 600, CompactSoft: 0.9, CompactHard: 1, CompactUSD: 1,
		TurnTimeout: 5 * time.Minute, BreakerFailures: 5, BreakerPause: 30 * time.Second, ReplyExpires: 72 * time.Hour,
		KeepHistory: 365 * 24 * time.Hour, KeepAccepted: 7 * 24 * time.Hour,
	}
}
