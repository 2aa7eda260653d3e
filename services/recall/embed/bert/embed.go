// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"context"
	"errors"
	"fmt"

	"github.com/blufio/blufio/services/recall/embed"
	"github.com/blufio/blufio/services/recall/embed/onnx"
)

// ErrClosed means that the embedder was closed.
var ErrClosed = errors.New("the embedding model is closed")

// Name tells this model from every other one: its shape, its form, and a hash of its files and settings.
func (e *Embedder) Name() string { return e.name }

// Dim is how many numbers a vector has.
func (e *Embedder) Dim() int { return e.m.width }

// MaxTokens is how much of a text is read.
func (e *Embedder) MaxTokens() int { return e.maxTokens }

// Probe makes a vector of nothing, to see that the model's weights are there and make numbers.
func (e *Embedder) Probe(ctx context.Context) error {
	_, err := e.Embed(ctx, []string{""})
	return err
}

// Embed returns a vector of length 1 for each text. An empty text has one too. It ends early, with the context's
// error, between two layers. Other callers' texts may come in between.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		v, err := e.one(ctx, text)
		if err != nil {
			return nil, fmt.Errorf("embed text: %w", err)
		}
		out[i] = v
	}
	return out, nil
}

// one makes the vector of one text, when its turn has come.
func (e *Embedder) one(ctx context.Context, text string) (v []float32, err error) {
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	defer e.unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if e.work == nil {
		e.work = newScratch(e.m)
	}
	err = onnx.Guard(func() error {
		v, err = e.vector(ctx, text)
		return err
	})
	return v, err
}

func (e *Embedder) lock(ctx context.Context) error {
	select {
	case <-e.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the embedding model: %w", ctx.Err())
	}
}

func (e *Embedder) unlock() { e.turn <- struct{}{} }

// vector makes the vector of a text.
func (e *Embedder) vector(ctx context.Context, text string) ([]float32, error) {
	s := e.work
	s.ids = e.words.Encode(s.ids[:0], text, e.maxTokens)
	if err := e.m.encode(ctx, s); err != nil {
		return nil, err
	}
	v := make([]float32, e.m.width)
	n := len(s.ids)
	if e.pooling == firstPooling {
		n = 1
	}
	for t := range n { // a vector's length does not matter yet, so a sum is as good as a mean
		for i, x := range s.x[t*len(v) : (t+1)*len(v)] {
			v[i] += x
		}
	}
	if !embed.Normalize(v) {
		return nil, errors.New("the model makes no numbers of it: its weights are damaged")
	}
	return v, nil
}

// Baseline is how many bytes of memory the model takes now, as measured: what of its file is mapped and resident, its
// vocabulary and its buffers; and without the file. To measure it takes about a millisecond.
func (e *Embedder) Baseline() (all, anonymous int64) {
	<-e.turn
	defer e.unlock()
	anonymous = e.words.Bytes() + e.m.bytes()
	if e.work != nil {
		anonymous += e.work.bytes()
	}
	if e.closed {
		return anonymous, anonymous
	}
	return anonymous + e.file.Resident(), anonymous
}

// Shed gives back the buffers and the resident part of the file, and returns about how many bytes that frees. The
// next text brings them back, within some milliseconds if the system still has the file in its cache.
func (e *Embedder) Shed() (int64, error) {
	<-e.turn
	defer e.unlock()
	if e.closed {
		return 0, nil
	}
	before := e.file.Resident()
	var freed int64
	if e.work != nil {
		freed, e.work = e.work.bytes(), nil
	}
	err := e.file.Shed()
	return freed + before - e.file.Resident(), err
}

// Close lets go of the model, after the text that is being worked at.
func (e *Embedder) Close() error {
	<-e.turn
	defer e.unlock()
	if e.closed {
		return nil
	}
	e.closed, e.work = true, nil
	return e.file.Close()
}
