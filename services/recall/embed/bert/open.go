// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"

	"github.com/blufio/blufio/services/recall/embed/onnx"
	"github.com/blufio/blufio/services/recall/embed/wordpiece"
)

// Options of an embedder. The zero value is usable.
type Options struct {
	MaxTokens int // of a text, if the model's own limit is larger
}

// Embedder makes vectors of texts with one model. It is safe for concurrent use, and works at one text at a time: a
// second core would not make the first one's answer come sooner, and memory is for one.
type Embedder struct {
	file      *onnx.Model
	m         *model
	words     *wordpiece.Tokenizer
	pooling   pooling
	maxTokens int
	name      string

	turn   chan struct{} // holds one token: whoever has it may work
	work   *scratch      // nil until it is needed
	closed bool
}

// Open opens the model in dir. It reads the graph and the vocabulary, and of the weights hardly anything: that takes
// some milliseconds. Whether they make vectors is seen by the first text, or by [Embedder.Probe].
func Open(dir string, o Options) (*Embedder, error) {
	s, err := readSettings(dir)
	if err != nil {
		return nil, fmt.Errorf("open model in %s: %w", dir, err)
	}
	words, err := wordpiece.Open(dir)
	if err != nil {
		return nil, err // names the directory
	}
	file, err := onnx.Open(modelPath(dir))
	if err != nil {
		return nil, err
	}
	e := &Embedder{file: file, words: words, pooling: s.pooling, turn: make(chan struct{}, 1)}
	e.turn <- struct{}{}
	if err := onnx.Guard(func() error { return e.prepare(s, o) }); err != nil {
		return nil, errors.Join(fmt.Errorf("use model in %s: %w", dir, err), file.Close())
	}
	return e, nil
}

// modelPath is where the model lies: in the directory or in one within it, and under another name if it is the only one.
func modelPath(dir string) string {
	var found []string
	for _, at := range []string{dir, filepath.Join(dir, "onnx")} {
		if path := filepath.Join(at, "model.onnx"); exists(path) {
			return path
		}
		entries, _ := os.ReadDir(at) // what cannot be read is not there
		for _, e := range entries {
			if filepath.Ext(e.Name()) == ".onnx" {
				found = append(found, filepath.Join(at, e.Name()))
			}
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return filepath.Join(dir, "model.onnx") // opening it says what is wrong
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// prepare finds the weights.
func (e *Embedder) prepare(s *settings, o Options) (err error) {
	if e.m, err = bind(e.file, s); err != nil {
		return err
	}
	if n := e.words.Size(); n > e.m.vocab {
		return fmt.Errorf("its tokenizer has %d pieces and the model knows %d: the files belong to different models", n, e.m.vocab)
	}
	e.maxTokens = min(e.m.positions, MaxTokens)
	for _, n := range []int{s.maxTokens, o.MaxTokens} {
		if n > 0 {
			e.maxTokens = max(min(e.maxTokens, n), 2)
		}
	}
	e.name = e.identify()
	e.file.Forget()
	return e.file.Shed() // what was looked at
}

// identify makes the model's name. A vector is only worth comparing with others of the same name.
func (e *Embedder) identify() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %d %d %s %g %d ", version, e.m.heads, e.m.inner, e.maxTokens, e.pooling, e.m.eps, e.file.Size())
	h.Write(e.words.Fingerprint())
	e.m.sample(h)
	return fmt.Sprintf("bert-%s-%s-%s", e.m.shape(), e.m.form(), hex.EncodeToString(h.Sum(nil)[:6]))
}

// sample hashes something of every weight: all would mean to read the whole file, at every start. Models that were
// trained differ everywhere.
func (m *model) sample(h hash.Hash) {
	some := func(t *onnx.Tensor) {
		b := t.Bytes()
		h.Write(b[:min(len(b), 64)])
		h.Write(b[len(b)-min(len(b), 64):])
	}
	some(m.words.w)
	some(m.places.w)
	for i := range m.layers {
		l := &m.layers[i]
		for _, w := range []*matrix{&l.query, &l.key, &l.value, &l.attended, &l.wide, &l.narrow} {
			some(w.w)
		}
	}
}
