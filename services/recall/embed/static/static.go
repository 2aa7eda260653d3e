// SPDX-License-Identifier: MIT OR Apache-2.0

// Package static makes vectors of texts without a model: what a fresh machine searches with.
//
//	vectors, err := static.New().Embed(ctx, []string{"a text"})
//
// A text's words, the pairs of neighbouring words, and the pieces of three to five characters within words each point
// to a few places of the vector by a hash, with a sign, and count there ("feature hashing"). So do a longer word's letters
// in any order, and its consonants alone: what stays of a word that was typed in haste. So texts are near that share
// words, or parts of words as of their inflections, in any language; in those written without spaces characters and
// their pairs take the place of words.
//
// English words of everyday life count as what they are about, too (related.txt): so a question about a sibling is near to
// what was said of a sister. That is a list, not understanding: what means the same in words that are not in it, or in another
// language, is not near, and takes a model.
//
// How often something occurs counts by its logarithm, and the most frequent words of a few languages count little. The same
// text gives the same vector on every machine, today and tomorrow: [Name] changes when that does.
package static

import (
	"context"
)

const (
	// Name is that of the vectors.
	Name = "static-ngram-3"
	// Dim is how many numbers one has.
	Dim = 384

	maxText = 32 << 10 // bytes of a text that are looked at
)

// Embedder is safe for concurrent use, and holds nothing.
type Embedder struct{}

// New returns the embedder.
func New() Embedder { return Embedder{} }

// Name is [Name].
func (Embedder) Name() string { return Name }

// Dim is [Dim].
func (Embedder) Dim() int { return Dim }

// Baseline is 0: nothing is held.
func (Embedder) Baseline() (all, anonymous int64) { return 0, 0 }

// Shed frees nothing.
func (Embedder) Shed() (int64, error) { return 0, nil }

// Close does nothing.
func (Embedder) Close() error { return nil }

// Probe finds nothing wrong.
func (Embedder) Probe(ctx context.Context) error { return ctx.Err() }

// Alike is how much two texts say the same in the same words, 0 to 1: unlike their vectors it takes no word for a related one.
func Alike(a, b string) float64 {
	x, y := vector(a, false), vector(b, false)
	var sum float64
	for i := range x {
		sum += float64(x[i]) * float64(y[i])
	}
	return max(sum, 0)
}

// Embed returns a vector for each text, of length 1; for one without letters or digits it is all zeros.
func (Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out[i] = vector(text, true)
	}
	return out, nil
}
