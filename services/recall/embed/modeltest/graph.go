// SPDX-License-Identifier: MIT OR Apache-2.0

package modeltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// graph is a model in the making.
type graph struct {
	Spec
	rand    *rand.Rand
	nodes   [][]byte
	tensors [][]byte
	beside  []byte // the other file
	count   int    // of weights that have lost their names
	quant   map[string][3]string
}

func newGraph(s Spec) *graph {
	return &graph{Spec: s, rand: newRand(s.Seed), quant: map[string][3]string{}}
}

// node adds a node. Its name is a path, as exports have it.
func (g *graph) node(name, op string, inputs, outputs []string, attrs ...attr) {
	var b []byte
	if n := len(inputs); n > 0 && inputs[n-1] == "" {
		inputs = inputs[:n-1] // left out
	}
	for _, in := range inputs {
		b = str(b, 1, in)
	}
	for _, out := range outputs {
		b = str(b, 2, out)
	}
	b = str(str(b, 3, name), 4, op)
	for _, a := range attrs {
		b = sub(b, 5, a())
	}
	g.nodes = append(g.nodes, b)
}

// op adds a node with one output, and returns that one's name.
func (g *graph) op(name, op string, inputs []string, attrs ...attr) string {
	g.node(name, op, inputs, []string{name + "_output_0"}, attrs...)
	return name + "_output_0"
}

// constant adds a Constant node.
func (g *graph) constant(name string, t []byte) string {
	return g.op(name, "Constant", nil, value(t))
}

func (g *graph) number(name string, v float32) string {
	return g.constant(name, tensor("", typeFloat, nil, floatBytes([]float32{v})))
}

func (g *graph) whole(name string, v ...int64) string {
	return g.constant(name, tensor("", typeInt64, []int{len(v)}, intBytes(v)))
}

// scalar is a whole number without dimensions: an index.
func (g *graph) scalar(name string, v int64) string {
	return g.constant(name, tensor("", typeInt64, nil, intBytes([]int64{v})))
}

// store adds an initializer. Only the large ones go to another file.
func (g *graph) store(name string, kind uint64, dims []int, raw []byte) string {
	if !g.External || len(raw) < 1024 {
		g.tensors = append(g.tensors, tensor(name, kind, dims, raw))
		return name
	}
	for len(g.beside)%64 != 0 {
		g.beside = append(g.beside, 0)
	}
	g.tensors = append(g.tensors, outside(name, kind, dims, "model.onnx_data", len(g.beside), len(raw)))
	g.beside = append(g.beside, raw...)
	return name
}

func (g *graph) floats(name string, dims []int, v []float32) string {
	return g.store(name, typeFloat, dims, floatBytes(v))
}

// build adds everything.
func (g *graph) build() {
	mask := g.mask()
	x := g.embeddings()
	for i := range g.Layers {
		x = g.layer(fmt.Sprintf("encoder.layer.%d", i), x, mask, i == g.Layers-1)
	}
}

// mask makes of the attention mask what is added to scores.
func (g *graph) mask() string {
	a := g.op("/Unsqueeze", "Unsqueeze", []string{"attention_mask", g.whole("/Constant", 1)})
	b := g.op("/Unsqueeze_1", "Unsqueeze", []string{a, g.whole("/Constant_1", 2)})
	c := g.op("/Cast", "Cast", []string{b}, integer("to", typeFloat))
	d := g.op("/Sub", "Sub", []string{g.number("/Constant_2", 1), c})
	return g.op("/Mul", "Mul", []string{d, g.number("/Constant_3", -math.MaxFloat32)})
}

func path(name string) string {
	return "/" + strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(name, "layer.", "layer#"), ".", "/"), "layer#", "layer.")
}

func (g *graph) embeddings() string {
	at := path(g.Prefix+"embeddings") + "/"
	words := g.table("word_embeddings", g.Vocab, "input_ids")
	kinds := g.table("token_type_embeddings", 2, "token_type_ids")
	sum := g.op(at+"Add", "Add", []string{words, kinds})
	positions := make([]int64, g.Positions)
	for i := range positions {
		positions[i] = int64(i)
	}
	ids := g.store(g.Prefix+"embeddings.position_ids", typeInt64, []int{1, g.Positions}, intBytes(positions))
	shape := g.op(at+"Shape", "Shape", []string{"input_ids"})
	length := g.op(at+"Gather", "Gather", []string{shape, g.scalar(at+"Constant", 1)}, integer("axis", 0))
	end := g.op(at+"Unsqueeze", "Unsqueeze", []string{length, g.whole(at+"Constant_1", 0)})
	part := g.op(at+"Slice", "Slice", []string{ids, g.whole(at+"Constant_2", 0), end, g.whole(at+"Constant_3", 1), g.whole(at+"Constant_4", 1)})
	places := g.table("position_embeddings", g.Positions, part)
	sum = g.op(at+"Add_1", "Add", []string{sum, places})
	return g.norm("embeddings.LayerNorm", sum, "")
}

// table adds an embedding.
func (g *graph) table(name string, rows int, ids string) string {
	full := g.Prefix + "embeddings." + name + ".weight"
	at := path(g.Prefix+"embeddings."+name) + "/Gather"
	v := g.random(rows*g.Width, 0, 0.05)
	if !g.Tables8 {
		return g.op(at, "Gather", []string{g.floats(full, []int{rows, g.Width}, v), ids})
	}
	q := quantize(v, g.Width, Unsigned8)
	w, scale, zero := g.storeQuantized(full, []int{rows, g.Width}, q)
	g.node(at, "Gather", []string{w, ids}, []string{at + "_output_0_quantized"})
	g.node(at+"_output_0_DequantizeLinear", "DequantizeLinear", []string{at + "_output_0_quantized", scale, zero}, []string{at + "_output_0"})
	return at + "_output_0"
}

// norm adds a layer norm: one operation, or nine. out is a name for the result, if it needs one.
func (g *graph) norm(name, x, out string) string {
	full := g.Prefix + name
	w := g.floats(full+".weight", []int{g.Width}, g.random(g.Width, 1, 0.1))
	b := g.floats(full+".bias", []int{g.Width}, g.random(g.Width, 0, 0.1))
	at := path(full) + "/"
	last := func(name, op string, in []string, attrs ...attr) string {
		if out == "" {
			return g.op(name, op, in, attrs...)
		}
		g.node(name, op, in, []string{out}, attrs...)
		return out
	}
	if g.NormOp {
		return last(at+"LayerNormalization", "LayerNormalization", []string{x, w, b}, integer("axis", -1), float("epsilon", 1e-12))
	}
	mean := g.op(at+"ReduceMean", "ReduceMean", []string{x}, integers("axes", -1), integer("keepdims", 1))
	off := g.op(at+"Sub", "Sub", []string{x, mean})
	squares := g.op(at+"Pow", "Pow", []string{off, g.number(at+"Constant", 2)})
	variance := g.op(at+"ReduceMean_1", "ReduceMean", []string{squares}, integers("axes", -1), integer("keepdims", 1))
	above := g.op(at+"Add", "Add", []string{variance, g.number(at+"Constant_1", 1e-12)})
	root := g.op(at+"Sqrt", "Sqrt", []string{above})
	unit := g.op(at+"Div", "Div", []string{off, root})
	scaled := g.op(at+"Mul", "Mul", []string{unit, w})
	return last(at+"Add_1", "Add", []string{scaled, b})
}

func (g *graph) layer(name, x, mask string, last bool) string {
	at := path(g.Prefix+name) + "/"
	gathered := g.attention(name+".attention.self", x, mask)
	y := g.linear(name+".attention.output.dense", gathered, g.Width, g.Width)
	y = g.op(at+"attention/output/Add", "Add", []string{y, x})
	y = g.norm(name+".attention.output.LayerNorm", y, "")
	z := g.gelu(at+"intermediate/intermediate_act_fn/", g.linear(name+".intermediate.dense", y, g.Width, g.Inner))
	z = g.linear(name+".output.dense", z, g.Inner, g.Width)
	z = g.op(at+"output/Add", "Add", []string{z, y})
	out := ""
	if last {
		out = "last_hidden_state"
	}
	return g.norm(name+".output.LayerNorm", z, out)
}

func (g *graph) gelu(at, x string) string {
	a := g.op(at+"Div", "Div", []string{x, g.number(at+"Constant", math.Sqrt2)})
	b := g.op(at+"Erf", "Erf", []string{a})
	c := g.op(at+"Add", "Add", []string{b, g.number(at+"Constant_1", 1)})
	d := g.op(at+"Mul", "Mul", []string{x, c})
	return g.op(at+"Mul_1", "Mul", []string{d, g.number(at+"Constant_2", 0.5)})
}

func (g *graph) attention(name, x, mask string) string {
	at := path(g.Prefix+name) + "/"
	q := g.heads(at, "", g.linear(name+".query", x, g.Width, g.Width), 0, 2, 1, 3)
	k := g.heads(at, "_1", g.linear(name+".key", x, g.Width, g.Width), 0, 2, 3, 1)
	v := g.heads(at, "_2", g.linear(name+".value", x, g.Width, g.Width), 0, 2, 1, 3)
	scores := g.op(at+"MatMul", "MatMul", []string{q, k})
	scores = g.op(at+"Div", "Div", []string{scores, g.number(at+"Constant_20", float32(math.Sqrt(float64(g.Width/g.Heads))))})
	scores = g.op(at+"Add", "Add", []string{scores, mask})
	shares := g.op(at+"Softmax", "Softmax", []string{scores}, integer("axis", -1))
	y := g.op(at+"MatMul_1", "MatMul", []string{shares, v})
	y = g.op(at+"Transpose_3", "Transpose", []string{y}, integers("perm", 0, 2, 1, 3))
	return g.op(at+"Reshape_3", "Reshape", []string{y, g.sizes(at, "_3", y, int64(g.Width))})
}

// heads cuts vectors into heads.
func (g *graph) heads(at, n, x string, perm ...int64) string {
	y := g.op(at+"Reshape"+n, "Reshape", []string{x, g.sizes(at, n, x, int64(g.Heads), int64(g.Width/g.Heads))})
	return g.op(at+"Transpose"+n, "Transpose", []string{y}, integers("perm", perm...))
}

// sizes makes a shape: the first two sizes of x, and what follows.
func (g *graph) sizes(at, n, x string, rest ...int64) string {
	shape := g.op(at+"Shape"+n, "Shape", []string{x})
	var all []string
	for i := range 2 {
		id := fmt.Sprintf("%s_%d", n, i)
		one := g.op(at+"Gather"+id, "Gather", []string{shape, g.scalar(at+"Constant_i"+id, int64(i))}, integer("axis", 0))
		all = append(all, g.op(at+"Unsqueeze"+id, "Unsqueeze", []string{one, g.whole(at+"Constant_a"+id, 0)}))
	}
	for i, r := range rest {
		all = append(all, g.whole(fmt.Sprintf("%sConstant_r%s_%d", at, n, i), r))
	}
	return g.op(at+"Concat"+n, "Concat", all, integer("axis", 0))
}
