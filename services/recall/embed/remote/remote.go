// SPDX-License-Identifier: MIT OR Apache-2.0

// Package remote has vectors of texts made by a server that speaks OpenAI's Embeddings: OpenAI itself, or Ollama,
// vLLM or llama.cpp on a machine of your own.
//
//	e, err := remote.New(cfg, remote.Deps{})
//	err = e.Probe(ctx) // learns how long its vectors are
//	vectors, err := e.Embed(ctx, []string{"a text"})
//
// Texts travel in batches, to https:// only, or as http:// to this machine, or where the owner allows it; see
// services/internal/outbound, which keeps the bounds. Nothing is asked twice here: who embeds many texts in the background
// goes on later, after the error's RetryAfter if it has one, and who waits for an answer searches without.
//
//	remote.go  the embedder
//	config.go  its settings
//	answer.go  what comes back
//	failure.go what went wrong, in words
//
// What the server counted is told to Deps.Used, for it may cost something. The format is that of "Create embeddings" in OpenAI's
// API reference.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/internal/clip"
	"github.com/blufio/blufio/services/internal/outbound"
)

const (
	maxText  = 8000      // bytes: no more tokens than OpenAI's models read
	maxBatch = 128 << 10 // bytes of texts in one request
	maxBody  = 32 << 20  // bytes of an answer: 256 vectors of 3072 numbers, written as they may be, are half of it
	maxDim   = 8192
)

// Deps is what the embedder works with. The zero value is ready.
type Deps struct {
	UserAgent string           // default "blufio"
	Now       func() time.Time // default time.Now
	Used      func(tokens int) // hears what the server counted, for each request
}

// Embedder asks one server. It is safe for concurrent use.
type Embedder struct {
	cfg  Config
	host string
	url  string
	http *http.Client
	d    Deps
	dim  atomic.Int64 // 0 until it is known
}

// New returns an embedder. It connects to nothing yet. The error is the first thing that [Config.Check] finds.
func New(cfg Config, d Deps) (*Embedder, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, errors.New(cfg.setting("base_url") + ": not a URL") // validate saw it
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	bounds := cfg.bounds()
	bounds.UserAgent = d.UserAgent
	e := &Embedder{cfg: cfg, host: u.Host, url: strings.TrimRight(cfg.BaseURL, "/") + path, http: outbound.New(bounds), d: d}
	e.dim.Store(int64(cfg.Dimensions))
	return e, nil
}

// Name tells the server's model and the length of its vectors; that is not known before [Embedder.Probe].
func (e *Embedder) Name() string { return fmt.Sprintf("remote-%s-%s-%d", e.host, e.cfg.Model, e.Dim()) }

// Dim is how many numbers a vector has, 0 while that is not known.
func (e *Embedder) Dim() int { return int(e.dim.Load()) }

// Baseline is 0: what is held between two requests is an idle connection, which Shed closes.
func (e *Embedder) Baseline() (all, anonymous int64) { return 0, 0 }

// Shed closes idle connections and returns about how many bytes that frees.
func (e *Embedder) Shed() (int64, error) { return outbound.CloseIdle(e.http), nil }

// Close lets go of idle connections. Requests under way go on.
func (e *Embedder) Close() error {
	e.http.CloseIdleConnections()
	return nil
}

// Probe has one vector made, which tells how long they are and that the server answers.
func (e *Embedder) Probe(ctx context.Context) error {
	_, err := e.Embed(ctx, []string{"probe"})
	return err
}

// Embed returns a vector of length 1 for each text; for a blank one, which servers refuse, it is all zeros. A long text is
// cut off. Errors are a *bus.Error, or the context's when that ended.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	var batch []string
	var places []int
	size := 0
	send := func() error {
		if len(batch) == 0 {
			return nil
		}
		vectors, err := e.ask(ctx, batch)
		for i := range vectors {
			out[places[i]] = vectors[i]
		}
		batch, places, size = nil, nil, 0
		return err
	}
	for i, text := range texts {
		text = clip.Bytes(strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD")), maxText)
		if text == "" {
			continue
		}
		if len(batch) == e.cfg.Batch || size+len(text) > maxBatch {
			if err := send(); err != nil {
				return nil, err
			}
		}
		batch, places, size = append(batch, text), append(places, i), size+len(text)
	}
	if err := send(); err != nil {
		return nil, err
	}
	for i := range out {
		if out[i] == nil {
			out[i] = make([]float32, e.Dim())
		}
	}
	return out, nil
}

// request is what is sent.
type request struct {
	Model      string   `json:"model"`
	Input      []string `json:"input"`
	Dimensions int      `json:"dimensions,omitempty"`
	Format     string   `json:"encoding_format"`
}

// ask has the vectors of one batch made.
func (e *Embedder) ask(ctx context.Context, texts []string) ([][]float32, error) {
	body, err := json.Marshal(request{e.cfg.Model, texts, e.cfg.Dimensions, "float"})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	key, err := e.cfg.APIKey.Open()
	if err != nil {
		return nil, e.noKey(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := e.http.Do(r)
	if err != nil {
		return nil, e.unreached(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, e.refused(resp)
	}
	return e.read(ctx, resp.Body, len(texts))
}

// learn notes the length of vectors, and refuses another one.
func (e *Embedder) learn(n int) error {
	e.dim.CompareAndSwap(0, int64(n))
	if want := e.Dim(); n != want {
		return bus.Errorf(bus.CodeInvalid, "%s sent a vector of %d numbers, where %d were before", e.host, n, want).
			WithHint("was its model changed? restart the daemon, so that everything is embedded anew; or check %s", e.cfg.setting("dimensions"))
	}
	return nil
}
