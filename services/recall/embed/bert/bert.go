// SPDX-License-Identifier: MIT OR Apache-2.0

// Package bert makes vectors of texts with a sentence model of the BERT family, as all-MiniLM-L6-v2,
// in this process and without other libraries.
//
//	e, err := bert.Open(dir, bert.Options{})
//	vectors, err := e.Embed(ctx, []string{"a text"})
//
// The directory is a model as Hugging Face has them:
//
//	model.onnx, also within onnx/          the weights: float32, or 8 bits as ONNX Runtime quantizes them; another name
//	                                       does if it is the only one
//	tokenizer.json, or vocab.txt           the words; with tokenizer_config.json
//	config.json                            its heads and activation; without it they are taken from the graph
//	sentence_bert_config.json              how much of a text it reads
//	1_Pooling/config.json, modules.json    how one vector is made of many; without them, their mean
//
// The graph is not executed. It is looked through for the weights (bind.go, linear.go), and the one calculation that
// such models make is written out here (encode.go), in loops that a Go compiler makes fast (multiply.go, and
// integer.go for 8 bits). A model that calculates anything else is refused when it is opened, in words.
//
// Weights stay in the mapped file. What a model takes of its own is the vocabulary and the buffers of one text,
// a few megabytes; the table of words, half of a small model, is read row by row and never mapped. [Embedder.Shed]
// gives everything back that comes again by itself.
//
//	open.go     the files of a model       embed.go    one text after another
//	settings.go what they say              encode.go   the layers
//	bind.go     which weight is which      multiply.go products of float32
//	linear.go   which one a layer has      integer.go  products of 8 bits
//	matrix.go   weights as they lie
package bert

// Limits of the models that are taken. They hold whatever a file says.
const (
	MaxTokens = 512 // of a text; what is longer is cut off

	maxLayers = 48
	maxWidth  = 4096
	maxInner  = 16384
)

// version is part of every vector's name: it changes when the same model gives other vectors.
const version = 1
