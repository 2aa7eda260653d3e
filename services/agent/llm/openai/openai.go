// SPDX-License-Identifier: MIT OR Apache-2.0

// Package openai is the provider for everything that speaks OpenAI's Chat
// Completions: OpenAI itself, OpenRouter, Groq, and on a machine of your own
// Ollama, vLLM, LM Studio or llama.cpp.
//
// The way of one question, file by file:
//
//	config.go   the section [openai]
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
	"fmt"
	"io"
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
func (p *Provider) Name() string { return Name }

// Model is [DefaultModel].
func (p *Provider) Model() string { return DefaultModel }

// Close lets go of idle connections. Questions under way go on.
func (p *Provider) Close() { p.c.Close() }

// Complete asks the model; see [llm.Provider]. With an error the Response holds
// nothing but what may have to be paid. Errors are a *bus.Error, or the
// context's when that ended.
func (p *Provider) Complete(ctx context.Context, req llm.Request, delta func(text string)) (llm.Response, error) {
	req.Model = cmp.Or(req.Model, DefaultModel)
	question, err := json.Marshal(p.request(req))
	if err != nil {
		return llm.Response{}, fmt.Errorf("encode request: %w", err)
	}
	header := http.Header{}
	if !p.c.Key.IsZero() {
		header.Set("Authorization", "Bearer "+p.c.Key.Reveal())
	}
	var a *answer
	paid, err := p.c.Insist(ctx, func() (wire.Try, error) {
		a = &answer{Draft: wire.Draft{Delta: delta, Asked: req.Size()}}
		err := p.c.Ask(ctx, header.Clone(), question, taker{p, a, req.Model})
		if err == nil {
			err = p.verdict(a, req.Model)
		}
		return wire.Try{Begun: a.Begun, Used: a.usage()}, err
	})
	if err != nil {
		return llm.Response{Usage: paid}, err
	}
	return a.Response(req.Model, paid), nil
}

// taker takes what comes for one try.
type taker struct {
	p     *Provider
	a     *answer
	model string
}

// Stream implements [wire.Taker].
func (t taker) Stream(r io.Reader) error {
	t.a.Accepted = true
	if err := t.a.read(r); err != nil {
		return t.p.broken(err, t.model)
	}
	return nil
}

// Refused implements [wire.Taker]. Some servers refuse with a status of 200.
func (t taker) Refused(status int, body []byte) error {
	e := readError(body)
	if status != http.StatusOK {
		return t.p.explain(status, e, t.model)
	}
	if e.known() {
		return t.p.explain(0, e, t.model)
	}
	t.a.Accepted = true
	return t.p.c.NotUnderstood("it did not stream its answer")
}
