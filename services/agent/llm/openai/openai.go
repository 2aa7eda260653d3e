// SPDX-License-Identifier: MIT OR Apache-2.0

// Package openai is the provider for everything that speaks OpenAI's Chat
// Completions: OpenAI itself, OpenRouter, Groq, and on a machine of your own
// Ollama, vLLM, LM Studio or llama.cpp.
//
// The way of one question, file by file:
//
//	config.go   the section [openai], and the presets with sections of their own
//	request.go  the question as the vendor wants it
//	openai.go   asks, by [wire.Client]: again where that makes sense
//	answer.go   puts the stream's frames together
//	apierror.go what the server says went wrong
//	failure.go  says what went wrong, in words for the person who asked
//
// An answer is always streamed: bytes that keep coming tell a slow model from a
// dead one. It is whole when the model said why it finished; anything else is an
// error, whatever had come by then.
//
// What the server counted is what is paid. A server that counts nothing, or whose
// stream broke off, is assumed to have used what [llm.EstimateTokens] says: a
// call that may have cost something is never booked as nothing. Tokens that a
// model spends on thinking count as output.
//
// The few structs of the wire are written by hand: one endpoint is in use, and
// the known clients either take megabytes or decode strictly what compatible
// servers say loosely.
package openai

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
	Name = "openai"
	// DefaultModel is asked when agent.model is empty: of the models that ship
	// with a price the cheapest that uses tools well and does not spend its answer
	// on thinking.
	DefaultModel = "gpt-4o-mini"
)

// Deps is what the provider works with. The zero value is ready.
type Deps = wire.Deps

// Provider asks one server.
type Provider struct {
	c   *wire.Client
	cfg Config
}

var _ llm.Provider = (*Provider)(nil)

// New returns the provider. It connects to nothing yet. The error is the first
// thing that [Config.Check] finds.
func New(cfg Config, d Deps) (*Provider, error) {
	c, err := wire.NewClient(cfg.server(), d)
	if err != nil {
		return nil, err
	}
	return &Provider{c: c, cfg: cfg}, nil
}

// Name is the provider's name in the configuration and the ledger.
func (p *Provider) Name() string { return p.cfg.name() }

// Model is [Config.DefaultModel].
func (p *Provider) Model() string { return p.cfg.DefaultModel() }

// Close lets go of idle connections. Questions under way go on.
func (p *Provider) Close() { p.c.Close() }

// Shed closes idle connections, too, and returns about how many bytes that frees.
func (p *Provider) Shed() int64 { return p.c.Shed() }

// Complete asks the model; see [llm.Provider] and [wire.Client.Complete].
func (p *Provider) Complete(ctx context.Context, req llm.Request, delta func(text string)) (llm.Response, error) {
	req.Model = cmp.Or(req.Model, p.Model())
	key, err := p.c.OpenKey()
	if err != nil {
		return llm.Response{}, err
	}
	header := http.Header{}
	if key != "" {
		header.Set("Authorization", "Bearer "+key)
	}
	return p.c.Complete(ctx, req.Model, header, func() ([]byte, error) { return json.Marshal(p.request(req)) }, func() wire.Answer { return p.answer(req, delta) })
}
