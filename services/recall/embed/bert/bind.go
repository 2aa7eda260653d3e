// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/blufio/blufio/services/recall/embed/onnx"
)

// model is what is calculated with.
type model struct {
	width, inner, heads, vocab, positions int

	words, places *table
	kind          []float32 // row 0 of the token types: every text is of the first kind
	norm          layerNorm
	layers        []layer
	eps           float32
}

// layer is one of the encoder.
type layer struct {
	query, key, value, attended matrix
	norm1                       layerNorm
	wide, narrow                matrix
	norm2                       layerNorm
}

type layerNorm struct{ weight, bias []float32 }

// binder finds the weights of a model in its graph.
type binder struct {
	m      *onnx.Model
	prefix string // of the names: "", "bert.", …
}

// bind finds everything, or says what is missing.
func bind(m *onnx.Model, s *settings) (*model, error) {
	b := &binder{m: m}
	if err := b.family(); err != nil {
		return nil, err
	}
	out := &model{eps: s.eps}
	for _, step := range []func(*model) error{b.embeddings, b.encoder, b.checkActivation} {
		if err := step(out); err != nil {
			return nil, err
		}
	}
	if out.eps == 0 {
		out.eps = b.epsilon()
	}
	out.heads = s.heads
	if out.heads == 0 {
		out.heads = b.heads(out.width)
	}
	if out.heads <= 0 || out.width%out.heads != 0 {
		return nil, fmt.Errorf("how many heads it has cannot be seen (%d of %d numbers?); put the model's config.json beside it", out.heads, out.width)
	}
	return out, nil
}

// wordTable is what every model of the family has.
const wordTable = "embeddings.word_embeddings.weight"

// family sees to it that this is a model of the right kind.
func (b *binder) family() error {
	names := map[string]bool{}
	b.m.Tensors(func(t *onnx.Tensor) {
		if at := strings.Index(t.Name, wordTable); at >= 0 {
			names[t.Name[:at]] = true
		}
		if t.Type == onnx.Float16 {
			names["float16"] = true
		}
	})
	if names["float16"] {
		return errors.New("its weights are float16; use the model.onnx of float32, or one quantized to 8 bits")
	}
	for _, n := range b.m.Nodes {
		switch n.Op {
		case "Attention", "MultiHeadAttention", "EmbedLayerNormalization", "SkipLayerNormalization", "FusedMatMul", "MatMulNBits", "DynamicQuantizeMatMul":
			return fmt.Errorf("it was rewritten by an optimizer (it has %s); use the model.onnx as it was exported, or quantized to 8 bits only", n.Op)
		}
	}
	if len(names) != 1 {
		return errors.New("this is no model of the BERT family: it has no embeddings.word_embeddings.weight")
	}
	for b.prefix = range names {
	}
	if strings.Contains(b.prefix, "roberta") || strings.Contains(b.prefix, "mpnet") || strings.Contains(b.prefix, "distilbert") {
		return fmt.Errorf("this is a model of another family (%s); one of the BERT family with a WordPiece vocabulary can be used", strings.Trim(b.prefix, "."))
	}
	return nil
}

// tensor finds a weight by its name in the family.
func (b *binder) tensor(name string) (*onnx.Tensor, error) {
	if t, ok := b.m.Tensor(b.prefix + name); ok {
		return t, nil
	}
	return nil, fmt.Errorf("it has no %s", b.prefix+name)
}

// floats finds a vector.
func (b *binder) floats(name string, n int) ([]float32, error) {
	t, err := b.tensor(name)
	if err != nil {
		return nil, err
	}
	if t.Len() != n {
		return nil, fmt.Errorf("%s has %d numbers, where %d belong", name, t.Len(), n)
	}
	return t.Floats()
}

func (b *binder) layerNorm(name string, n int) (l layerNorm, err error) {
	if l.weight, err = b.floats(name+".weight", n); err != nil {
		return l, err
	}
	l.bias, err = b.floats(name+".bias", n)
	return l, err
}

// embeddings finds the tables and what makes one vector of them.
func (b *binder) embeddings(m *model) (err error) {
	if m.words, err = b.table(wordTable); err != nil {
		return err
	}
	if m.places, err = b.table("embeddings.position_embeddings.weight"); err != nil {
		return err
	}
	kinds, err := b.table("embeddings.token_type_embeddings.weight")
	if err != nil {
		return err
	}
	m.width, m.vocab, m.positions = m.words.width, m.words.rows, m.places.rows
	switch {
	case m.width == 0 || m.width > maxWidth || m.width != m.places.width || m.width != kinds.width:
		return fmt.Errorf("its tables have vectors of %d, %d and %d numbers; at most %d, and of one size, can be used", m.width, m.places.width, kinds.width, maxWidth)
	case m.positions < 2 || kinds.rows < 1:
		return errors.New("its tables of positions or token types are empty")
	}
	m.kind = make([]float32, m.width)
	if err := kinds.add(m.kind, 0); err != nil {
		return err
	}
	m.norm, err = b.layerNorm("embeddings.LayerNorm", m.width)
	return err
}

// table finds a table, of float32 or quantized.
func (b *binder) table(name string) (*table, error) {
	t, err := b.tensor(name)
	if err == nil {
		return newTable(name, t)
	}
	q, quantized := b.m.Tensor(b.prefix + name + "_quantized")
	if !quantized {
		return nil, err
	}
	tab, err := newTable(name, q)
	if err != nil {
		return nil, err
	}
	scale, zero, err := b.scales(b.prefix+name+"_scale", b.prefix+name+"_zero_point")
	if err != nil {
		return nil, err
	}
	if len(scale) != 1 || len(zero) != 1 {
		return nil, fmt.Errorf("%s: it has %d scales; tables with one can be used", name, len(scale))
	}
	tab.scale, tab.zero = scale[0], zero[0]
	return tab, nil
}

// scales reads how a tensor of 8 bits was quantized. A zero point that is left out is 0.
func (b *binder) scales(scale, zero string) ([]float32, []int32, error) {
	t, ok := b.m.Tensor(scale)
	if !ok {
		return nil, nil, fmt.Errorf("it has no %s", scale)
	}
	s, err := t.Floats()
	if err != nil {
		return nil, nil, err
	}
	z := []int32{0}
	if t, ok := b.m.Tensor(zero); ok {
		ints, err := t.Ints()
		if err != nil {
			return nil, nil, err
		}
		z = make([]int32, len(ints))
		for i, v := range ints {
			z[i] = int32(min(max(v, -256), 256))
		}
	}
	return s, z, nil
}

// encoder finds the layers.
func (b *binder) encoder(m *model) error {
	for i := 0; ; i++ {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		if _, err := b.tensor(at + "output.LayerNorm.weight"); err != nil {
			if i == 0 {
				return err
			}
			return nil
		}
		if i == maxLayers {
			return fmt.Errorf("it has more than %d layers", maxLayers)
		}
		l, err := b.layer(at, m)
		if err != nil {
			return err
		}
		m.layers = append(m.layers, l)
	}
}

func (b *binder) layer(at string, m *model) (l layer, err error) {
	if m.inner == 0 {
		t, err := b.tensor(at + "intermediate.dense.bias")
		if err != nil {
			return l, err
		}
		if m.inner = t.Len(); m.inner == 0 || m.inner > maxInner {
			return l, fmt.Errorf("its layers are %d numbers wide inside; at most %d can be used", m.inner, maxInner)
		}
	}
	for _, w := range []struct {
		name    string
		m       *matrix
		in, out int
	}{
		{"attention.self.query", &l.query, m.width, m.width},
		{"attention.self.key", &l.key, m.width, m.width},
		{"attention.self.value", &l.value, m.width, m.width},
		{"attention.output.dense", &l.attended, m.width, m.width},
		{"intermediate.dense", &l.wide, m.width, m.inner},
		{"output.dense", &l.narrow, m.inner, m.width},
	} {
		if *w.m, err = b.linear(at + w.name); err != nil {
			return l, err
		}
		if err = w.m.check(at+w.name, w.in, w.out); err != nil {
			return l, err
		}
	}
	if l.norm1, err = b.layerNorm(at+"attention.output.LayerNorm", m.width); err != nil {
		return l, err
	}
	l.norm2, err = b.layerNorm(at+"output.LayerNorm", m.width)
	return l, err
}

// checkActivation sees to it that the layers have the activation that is calculated here.
func (b *binder) checkActivation(*model) error {
	for _, n := range b.m.Nodes {
		if n.Op == "Erf" || n.Op == "Gelu" {
			return nil
		}
	}
	return errors.New("its activation is not GELU by the error function, which is the one that can be used")
}

// epsilon is what keeps a norm from dividing by zero, where config.json does not say it.
func (b *binder) epsilon() float32 {
	for _, n := range b.m.Nodes {
		if eps, ok := n.Float("epsilon"); ok && n.Op == "LayerNormalization" {
			return eps
		}
	}
	return 1e-12 // the family's
}

// heads finds the number of heads, where config.json does not say it: among the whole numbers that the first layer's
// attention makes shapes of there is one pair whose product is the width.
func (b *binder) heads(width int) int {
	sizes := map[int64]bool{}
	note := func(name string) {
		if t, ok := b.m.Tensor(name); ok && t.Type == onnx.Int64 && t.Len() > 0 && t.Len() <= 4 {
			if ints, err := t.Ints(); err == nil {
				for _, v := range ints {
					sizes[v] = true
				}
			}
		}
	}
	for _, n := range b.m.Nodes {
		if strings.Contains(n.Name, "encoder/layer.0/attention/self/") && slices.Contains([]string{"Reshape", "Concat", "Unsqueeze", "Constant"}, n.Op) {
			for _, name := range slices.Concat(n.Inputs, n.Outputs) {
				note(name)
			}
		}
	}
	found := 0
	for h := range sizes {
		per := int64(width) / max(h, 1)
		if h > 1 && h < int64(width) && per*h == int64(width) && sizes[per] && h <= per {
			if found != 0 {
				return 0 // two pairs: unclear
			}
			found = int(h)
		}
	}
	return found
}

// form says what kind of weights there are, for the model's name.
func (m *model) form() string {
	if w := m.layers[0].wide.w; w.Type != onnx.Float32 {
		return "int8"
	}
	return "float32"
}

// shape says how large it is.
func (m *model) shape() string {
	return "L" + strconv.Itoa(len(m.layers)) + "-H" + strconv.Itoa(m.width)
}
