// SPDX-License-Identifier: MIT OR Apache-2.0

// Package embed is about vectors of texts: what is alike in meaning is near. There are three ways to make them, each a
// package of its own with one type, and all of these have the same methods:
//
//	Embed(ctx, texts) ([][]float32, error)  a vector of length 1 for each; for a text with nothing in it one that means nothing
//	Probe(ctx) error                        sees that it works; takes as long as a short text
//	Name() string                           tells vectors that can be compared with each other from others
//	Dim() int                               how many numbers one has
//	Baseline() (all, anonymous int64)       bytes of memory that it takes now, as measured, and what of them no file backs
//	Shed() (int64, error)                   gives back what comes again by itself, and tells how many bytes went, also with an error
//	Close() error
//
// They are:
//
//	static  without a model, by words and their parts: what a fresh machine has
//	bert    a sentence model from a directory, in this process
//	remote  a server that speaks OpenAI's Embeddings
//
// A change of Name means that every vector has to be made again.
//
// Below bert are wordpiece, its tokenizer, and onnx, which reads model files; modeltest makes small models for tests, and the
// module in oracle compares bert with a general ONNX runtime.
package embed

import "math"

// Normalize gives v the length 1. It reports whether v has a length that is a number and not 0; otherwise v stays as it is.
func Normalize(v []float32) bool {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return false
	}
	scale := 1 / math.Sqrt(sum)
	for i, x := range v {
		v[i] = float32(float64(x) * scale)
	}
	return true
}
