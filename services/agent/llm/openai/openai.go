// SPDX-License-Identifier: MIT OR Apache-2.0

// Package openai is the provider for everything that speaks OpenAI's Chat
// Completions: OpenAI itself, OpenRouter, Groq, and on a machine of your own
// Ollama, vLLM, LM Studio or llama.cpp.
//
// The way of one question, file by file:
//
//	config.go   the section [openai], and the presets with sections of their own
//	request.go  the question as the vendor wants it
//	openai.go   asks, and tries again where that makes sense
//	frames.go   cuts the answer's stream into frames
//	answer.go   puts the frames together
//	apierror.go what the server says went wrong
//	failure.go  says what went wrong, in words for the person who asked
//
// An answer is always streamed: bytes that keep coming tell a slow model from a
// dead one. It is whole when the model said why it finished; anything else is an
// error, whatever had come by then.
//
// A question is asked up to [MaxTries] times, with growing and jittered pauses or
// the pause the server asks for, as long as the context's deadline leaves room
// and nothing of an answer has come: a half answer is never begun anew.
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
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/agent/llm"
	"github.com/blufio/blufio/services/internal/outbound"
)

const (
	// Name is the provider's name in the configuration and the ledger.
	Name = "openai"
	// DefaultModel is asked when agent.model is empty: of the models that ship
	// with a price the cheapest that uses tools well and does not spend its answer
	// on thinking.
	DefaultModel = "gpt-4o-mini"
	// MaxTries is how often a question is asked.
	MaxTries = 3

	maxBody   = 32 << 20        // bytes of a stream: 64 000 tokens with their wrapping
	maxErrors = 64 << 10        // bytes that are read of a refusal
	firstWait = time.Second / 2 // before the second try; doubles

	drainTime  = 200 * time.Millisecond // for what may follow an answer
	drainBytes = 4 << 10
)

// Deps is what the provider works with. The zero value is ready; tests replace
// the parts.
type Deps struct {
	UserAgent string                                           // default "blufio"
	Now       func() time.Time                                 // default time.Now
	Sleep     func(ctx context.Context, d time.Duration) error // returns early, with ctx's error, when ctx ends
	Jitter    func(d time.Duration) time.Duration              // default: between a half and all of d
}

// Provider asks one server.
type Provider struct {
	cfg    Config
	host   string // for messages
	url    string
	client *http.Client
	d      Deps
}

var _ llm.Provider = (*Provider)(nil)

// New returns the provider. It connects to nothing yet. The error is the first
// thing that [Config.Check] finds.
func New(cfg Config, d Deps) (*Provider, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("%s.base_url: not a URL", cfg.name()) // validate saw it
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Sleep == nil {
		d.Sleep = sleep
	}
	if d.Jitter == nil {
		d.Jitter = func(w time.Duration) time.Duration { return w/2 + rand.N(w/2+1) }
	}
	options := cfg.outbound()
	options.UserAgent = d.UserAgent
	return &Provider{cfg: cfg, host: base.Host, url: strings.TrimRight(cfg.BaseURL, "/") + "/chat/completions",
		client: outbound.New(options), d: d}, nil
}

// Name is the provider's name in the configuration and the ledger.
func (p *Provider) Name() string { return p.cfg.name() }

// Model is [Config.DefaultModel].
func (p *Provider) Model() string { return p.cfg.DefaultModel() }

// Close lets go of idle connections. Questions under way go on.
func (p *Provider) Close() { p.client.CloseIdleConnections() }

// Complete asks the model; see [llm.Provider]. With an error the Response holds
// nothing but what may have to be paid. Errors are a *bus.Error, or the
// context's when that ended.
func (p *Provider) Complete(ctx context.Context, req llm.Request, delta func(text string)) (llm.Response, error) {
	req.Model = cmp.Or(req.Model, p.Model())
	question, err := json.Marshal(p.request(req))
	if err != nil {
		return llm.Response{}, fmt.Errorf("encode request: %w", err)
	}
	var paid bus.Usage
	for try := 1; ; try++ {
		a := &answer{delta: delta, asked: req.Size()}
		err := p.ask(ctx, req.Model, question, a)
		paid = add(paid, a.usage())
		if err == nil {
			return a.response(req.Model, paid), nil
		}
		if err := ctx.Err(); err != nil {
			return llm.Response{Usage: paid}, fmt.Errorf("ask %s: %w", p.host, err)
		}
		var e *bus.Error
		if a.begun || try == MaxTries || !errors.As(err, &e) || !bus.Retryable(e) {
			return llm.Response{Usage: paid}, err
		}
		if !p.pause(ctx, try, e.RetryAfter) {
			return llm.Response{Usage: paid}, err
		}
	}
}

// ask puts the question once and takes the answer.
func (p *Provider) ask(ctx context.Context, model string, question []byte, a *answer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // an answer that is given up is not read to its end
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(question))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	if !p.cfg.APIKey.IsZero() {
		r.Header.Set("Authorization", "Bearer "+p.cfg.APIKey.Reveal())
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return p.unreached(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return p.refused(resp, model)
	}
	a.accepted = true
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "application/json" || kind == "text/html" {
		return p.unstreamed(resp, model, a)
	}
	if err := a.read(resp.Body); err != nil {
		return p.broken(err, model)
	}
	// Read to its very end, the connection can be used again.
	timer := time.AfterFunc(drainTime, cancel)
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, drainBytes)
	return p.verdict(a, model)
}

// unstreamed reads what came instead of a stream: an error, if anything known.
func (p *Provider) unstreamed(resp *http.Response, model string, a *answer) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrors))
	if err != nil {
		return p.broken(err, model)
	}
	if e := readError(data); e.known() {
		a.accepted = false
		return p.explain(0, e, model)
	}
	return p.notUnderstood("it did not stream its answer")
}

// pause waits before the next try, as long as the server asks for. It reports
// whether there is time for one.
func (p *Provider) pause(ctx context.Context, try int, asked time.Duration) bool {
	wait := max(asked, p.d.Jitter(firstWait<<(try-1)))
	deadline, ok := ctx.Deadline()
	if !ok && asked > p.cfg.Timeout || ok && p.d.Now().Add(wait).After(deadline) {
		return false
	}
	return p.d.Sleep(ctx, wait) == nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func add(a, b bus.Usage) bus.Usage {
	return bus.Usage{Input: a.Input + b.Input, Output: a.Output + b.Output,
		CacheRead: a.CacheRead + b.CacheRead, CacheWrite: a.CacheWrite + b.CacheWrite}
}
