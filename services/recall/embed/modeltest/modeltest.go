// SPDX-License-Identifier: MIT OR Apache-2.0

// Package modeltest makes sentence models for tests, and for the bench: small ones, with random weights, and yet whole ONNX files with
// the operations and names that the exports of all-MiniLM-L6-v2 have, so that any ONNX runtime can run them.
//
//	modeltest.Write(t, dir, modeltest.Spec{Layers: 2, Width: 32, Heads: 4, Inner: 64})
//
//	modeltest.go what there is to choose, and the files
//	graph.go     the operations of an export
//	linear.go    the forms in which a linear layer appears
//	file.go      the encoding
package modeltest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Form is how the weights of linear layers are stored.
type Form int

const (
	Float32   Form = iota // MatMul with a weight that was turned round ("onnx::MatMul_…")
	Transpose             // MatMul with the weight as it was trained, over Transpose
	Gemm                  // Gemm, transB
	Dynamic8              // as quantize_dynamic makes it: MatMulInteger, int8, one scale
	Channels8             // the same with a scale for each output
	Unsigned8             // uint8, with a zero point
	Weights8              // DequantizeLinear before MatMul, a scale for each output
)

// Spec says which model. Zeros are replaced by something small.
type Spec struct {
	Layers, Width, Heads, Inner, Vocab, Positions int

	Seed     uint64
	Form     Form
	Tables8  bool // embedding tables quantized too
	NormOp   bool // LayerNormalization, as newer exports have it
	Renamed  bool // biases under other names where they are used
	NoZeros  bool // zero points of linear layers left out where they are 0
	External bool // weights in a file of their own
	Bare     bool // no config.json
	Prefix   string
	Pooling  string // "" (no file), "mean" or "cls"
	Pieces   []string
}

// MiniLM has the shape of all-MiniLM-L6-v2.
func MiniLM(form Form) Spec {
	return Spec{Layers: 6, Width: 384, Heads: 12, Inner: 1536, Vocab: 30522, Positions: 512, Form: form, Tables8: form >= Dynamic8 && form <= Unsigned8}
}

func (s Spec) filled() Spec {
	for _, f := range []struct {
		v *int
		n int
	}{{&s.Layers, 2}, {&s.Width, 32}, {&s.Heads, 4}, {&s.Inner, 64}, {&s.Positions, 64}} {
		if *f.v == 0 {
			*f.v = f.n
		}
	}
	if s.Pieces == nil {
		s.Pieces = Pieces()
	}
	s.Vocab = max(s.Vocab, len(s.Pieces))
	for i := len(s.Pieces); i < s.Vocab; i++ {
		s.Pieces = append(s.Pieces, fmt.Sprintf("[unused%d]", i))
	}
	return s
}

// Pieces is a small vocabulary: special tokens, characters that begin and continue words, and some words.
func Pieces() []string {
	out := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	for _, r := range "abcdefghijklmnopqrstuvwxyz0123456789" {
		out = append(out, string(r), "##"+string(r))
	}
	for _, r := range ".,!?'\"-:;()$%" {
		out = append(out, string(r))
	}
	return append(out, strings.Fields("the a is of and to in house cat dog sits on mat where city weather rain sun ##ing ##ed ##s 日 本 語 привет мир")...)
}

// Tokens is a text of n tokens, those at its ends included.
func Tokens(n int) string { return strings.Repeat("cat ", n-2) }

// Save writes the model's files into dir, for programs that are no tests.
func Save(dir string, s Spec) error {
	s = s.filled()
	g := newGraph(s)
	g.build()
	files := map[string][]byte{"model.onnx": g.model(), "vocab.txt": []byte(strings.Join(s.Pieces, "\n") + "\n")}
	if s.External {
		files["model.onnx_data"] = g.beside
	}
	var errs []error
	settings := func(name string, v map[string]any) {
		b, err := json.Marshal(v)
		files[name], errs = b, append(errs, err)
	}
	if !s.Bare {
		settings("config.json", map[string]any{"model_type": "bert", "num_attention_heads": s.Heads,
			"hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_size": s.Width})
	}
	if s.Pooling != "" {
		settings(filepath.Join("1_Pooling", "config.json"), map[string]any{"word_embedding_dimension": s.Width,
			"pooling_mode_cls_token": s.Pooling == "cls", "pooling_mode_mean_tokens": s.Pooling == "mean", "pooling_mode_max_tokens": false})
	}
	for name, content := range files {
		errs = append(errs, put(filepath.Join(dir, name), content))
	}
	return errors.Join(errs...)
}

func put(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// Write is [Save] in a test.
func Write(t testing.TB, dir string, s Spec) {
	t.Helper()
	if err := Save(dir, s); err != nil {
		t.Fatal(err)
	}
}

// Make is [Write] into a directory of its own.
func Make(t testing.TB, s Spec) string {
	dir := t.TempDir()
	Write(t, dir, s)
	return dir
}

// random makes weights as they are after training, about: so large that every layer still matters.
func (g *graph) random(n int, around, spread float32) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = around + spread*float32(g.rand.NormFloat64())
	}
	return out
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 20)) }
