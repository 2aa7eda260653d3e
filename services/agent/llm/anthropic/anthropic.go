// SPDX-License-Identifier: MIT OR Apache-2.0

// Package anthropic is the provider for Anthropic's Messages API.
//
// The way of one question, file by file:
//
//	config.go    the section [anthropic]
//	request.go   the question as the vendor wants it, and what of it is cached
//	anthropic.go asks, by [wire.Client]: again where that makes sense
//	answer.go    puts the stream's events together
//	failure.go   says what went wrong, in words for the person who asked
//
// An answer is always streamed, and it is whole when the model said why it
// stopped; anything else is an error, whatever had come by then. Thinking, which
// some models do unasked, is paid for and not shown, and not sent back: no
// question here turns it on, so the vendor does not insist on it.
//
// The prompt is cached by the vendor up to marks in it: one behind the tools, one
// behind the system prompt, and one behind each of the person's two latest
// messages, so that the next question finds what this one wrote. The same
// conversation always makes the same bytes. Short prompts (1024 tokens, with some
// models 4096) are not cached at all, and cost nothing extra for their marks.
//
// What the server counted is what is paid. Of a stream that broke off the
// question is paid as counted at its start, and the answer as
// [llm.EstimateTokens] says.
package anthropic

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/agent/llm/wire"
)

const (
	// Name is the provider's name in the configuration and the ledger.
	Name = "anthropic"
	// DefaultModel is asked when agent.model is empty: the cheapest that ships
	// with a price and uses tools well.
	DefaultModel = "claude-haiku-4-5"

	version = "2023-06-01" // of the wire, in the header anthropic-version
)

// Deps is what the provider works with. The zero value is ready.
type Deps = wire.Deps

// Provider asks one server.
type Provider struct{ c *wire.Client }

var _ llm.Provider = (*Provider)(nil)

// New returns the provider. It connects to nothing yet. The error is the first
// thing that [Config.Check] finds.
func New(cfg Config, d Deps) (*Provider, error) {
	c, err := wire.NewClient(cfg.server(), d)
	if err != nil {
		return nil, err
	}
	return &Provider{c}, nil
}

// Name is the provider's name in the configuration and the ledger.
func (p *Provider) Name() string { return Name }

// Model is [DefaultModel].
func (p *Provider) Model() string { return DefaultModel }

// Close lets go of idle connections. Questions under way go on.
func (p *Provider) Close() { p.c.Close() }

// Shed closes idle connections, too, and returns about how many bytes that frees.
func (p *Provider) Shed() int64 { return p.c.Shed() }

// Complete asks the model; see [llm.Provider] and [wire.Client.Complete].
func (p *Provider) Complete(ctx context.Context, req llm.Request, delta func(text string)) (llm.Response, error) {
	req.Model = cmp.Or(req.Model, DefaultModel)
	key, err := p.c.OpenKey()
	if err != nil {
		return llm.Response{}, err
	}
	return p.c.Complete(ctx, req.Model, header(key), func() ([]byte, error) { return json.Marshal(translate(req)) }, func() wire.Answer { return p.answer(req, delta) })
}

func header(key string) http.Header {
	h := http.Header{"Anthropic-Version": {version}}
	if key != "" {
		h.Set("X-Api-Key", key)
	}
	return h
}
