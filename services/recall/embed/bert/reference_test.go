// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
	"github.com/blufio/blufio/services/recall/embed/onnx"
)

// reference calculates what a model of modeltest does as plainly as can be: in float64, one number after the other,
// with weights taken by the names that modeltest gives them.
type reference struct {
	t    testing.TB
	m    *onnx.Model
	spec modeltest.Spec
}

func newReference(t testing.TB, dir string, spec modeltest.Spec) *reference {
	t.Helper()
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return &reference{t, m, spec}
}

func (r *reference) tensor(name string) *onnx.Tensor {
	x, ok := r.m.Tensor(name)
	if !ok {
		r.t.Fatalf("no %s", name)
	}
	return x
}

func (r *reference) floats(name string) []float64 {
	v, err := r.tensor(name).Floats()
	if err != nil {
		r.t.Fatal(err)
	}
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// wide returns the numbers that a quantized tensor of so many columns stands for.
func (r *reference) wide(name string, columns int) []float64 {
	q, err := r.tensor(name + "_quantized").Ints()
	if err != nil {
		r.t.Fatal(err)
	}
	scale := r.floats(name + "_scale")
	zero := make([]int64, len(scale))
	if z, ok := r.m.Tensor(name + "_zero_point"); ok {
		if zero, err = z.Ints(); err != nil {
			r.t.Fatal(err)
		}
	}
	out := make([]float64, len(q))
	for i := range q {
		c := i % columns % len(scale)
		out[i] = float64(q[i]-zero[c]) * scale[c]
	}
	return out
}

// linear returns x·W + b for the n-th linear layer, whose name is given too.
func (r *reference) linear(x [][]float64, name string, n int) [][]float64 {
	b := r.floats(r.spec.Prefix + name + ".bias")
	lost := fmt.Sprintf("onnx::MatMul_%d", 787+n)
	in, out := len(x[0]), len(b)
	var w func(i, o int) float64
	switch r.spec.Form {
	case modeltest.Float32:
		v := r.floats(lost)
		w = func(i, o int) float64 { return v[i*out+o] }
	case modeltest.Transpose, modeltest.Gemm:
		v := r.floats(r.spec.Prefix + name + ".weight")
		w = func(i, o int) float64 { return v[o*in+i] }
	default:
		v := r.wide(lost, out)
		w = func(i, o int) float64 { return v[i*out+o] }
		if r.spec.Form != modeltest.Weights8 {
			x = rounded(x)
		}
	}
	y := make([][]float64, len(x))
	for t := range x {
		y[t] = make([]float64, out)
		for o := range out {
			y[t][o] = b[o]
			for i := range in {
				y[t][o] += x[t][i] * w(i, o)
			}
		}
	}
	return y
}

// rounded is what is left of x after DynamicQuantizeLinear.
func rounded(x [][]float64) [][]float64 {
	lo, hi := 0.0, 0.0
	for _, row := range x {
		for _, v := range row {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	scale := (hi - lo) / 255
	zero := math.RoundToEven(-lo / scale)
	out := make([][]float64, len(x))
	for t, row := range x {
		for _, v := range row {
			out[t] = append(out[t], (min(max(math.RoundToEven(v/scale)+zero, 0), 255)-zero)*scale)
		}
	}
	return out
}

func (r *reference) norm(x [][]float64, name string) {
	w, b := r.floats(r.spec.Prefix+name+".weight"), r.floats(r.spec.Prefix+name+".bias")
	for _, v := range x {
		mean, variance := 0.0, 0.0
		for _, y := range v {
			mean += y / float64(len(v))
		}
		for _, y := range v {
			variance += (y - mean) * (y - mean) / float64(len(v))
		}
		for i := range v {
			v[i] = (v[i]-mean)/math.Sqrt(variance+1e-12)*w[i] + b[i]
		}
	}
}

func (r *reference) attention(x [][]float64, at string, n int) [][]float64 {
	q, k, v := r.linear(x, at+".query", n), r.linear(x, at+".key", n+1), r.linear(x, at+".value", n+2)
	d := len(x[0]) / r.spec.Heads
	y := make([][]float64, len(x))
	for t := range x {
		y[t] = make([]float64, len(x[0]))
		for h := range r.spec.Heads {
			shares, sum := make([]float64, len(x)), 0.0
			for u := range x {
				for i := h * d; i < (h+1)*d; i++ {
					shares[u] += q[t][i] * k[u][i] / math.Sqrt(float64(d))
				}
				shares[u] = math.Exp(shares[u])
				sum += shares[u]
			}
			for u := range x {
				for i := h * d; i < (h+1)*d; i++ {
					y[t][i] += shares[u] / sum * v[u][i]
				}
			}
		}
	}
	return y
}

func plus(x, y [][]float64) [][]float64 {
	for t := range x {
		for i := range x[t] {
			x[t][i] += y[t][i]
		}
	}
	return x
}

// embed returns the vector of ids.
func (r *reference) embed(ids []int32, first bool) []float64 {
	table := func(name string) []float64 {
		if name = r.spec.Prefix + "embeddings." + name + "_embeddings.weight"; r.spec.Tables8 {
			return r.wide(name, r.spec.Width)
		}
		return r.floats(name)
	}
	words, places, kinds := table("word"), table("position"), table("token_type")
	x := make([][]float64, len(ids))
	for t, id := range ids {
		for i := range r.spec.Width {
			x[t] = append(x[t], words[int(id)*r.spec.Width+i]+places[t*r.spec.Width+i]+kinds[i])
		}
	}
	r.norm(x, "embeddings.LayerNorm")
	for l := range r.spec.Layers {
		at := fmt.Sprintf("encoder.layer.%d", l)
		x = plus(x, r.linear(r.attention(x, at+".attention.self", 6*l), at+".attention.output.dense", 6*l+3))
		r.norm(x, at+".attention.output.LayerNorm")
		y := r.linear(x, at+".intermediate.dense", 6*l+4)
		for t := range y {
			for i, v := range y[t] {
				y[t][i] = v / 2 * (1 + math.Erf(v/math.Sqrt2))
			}
		}
		x = plus(x, r.linear(y, at+".output.dense", 6*l+5))
		r.norm(x, at+".output.LayerNorm")
	}
	if first {
		x = x[:1]
	}
	out, length := make([]float64, r.spec.Width), 0.0
	for _, v := range x {
		for i, y := range v {
			out[i] += y
		}
	}
	for _, y := range out {
		length += y * y
	}
	for i := range out {
		out[i] /= math.Sqrt(length)
	}
	return out
}

// The pass agrees with the plain one in every form of weights, and with sizes that fill no panel.
func TestReference(t *testing.T) {
	base := modeltest.Spec{Layers: 2, Width: 32, Heads: 4, Inner: 64}
	specs := map[string]modeltest.Spec{
		"odd sizes":         {Layers: 3, Width: 45, Heads: 5, Inner: 77},
		"odd sizes, 8 bits": {Layers: 1, Width: 45, Heads: 5, Inner: 77, Form: modeltest.Unsigned8, Seed: 3},
		"one panel":         {Layers: 1, Width: 64, Heads: 2, Inner: 128, Form: modeltest.Channels8},
		"many panels":       {Layers: 1, Width: 520, Heads: 4, Inner: 540},
		"many, turned":      {Layers: 1, Width: 520, Heads: 4, Inner: 540, Form: modeltest.Gemm},
		"quantized tables":  {Layers: 2, Width: 32, Heads: 4, Inner: 64, Form: modeltest.Dynamic8, Tables8: true},
		"prefix, outside":   {Layers: 2, Width: 32, Heads: 4, Inner: 64, Prefix: "bert.", External: true, NormOp: true},
		"renamed biases":    {Layers: 2, Width: 32, Heads: 4, Inner: 64, Renamed: true},
		"renamed, 8 bits":   {Layers: 2, Width: 32, Heads: 4, Inner: 64, Renamed: true, Form: modeltest.Dynamic8, NoZeros: true},
		"first token":       {Layers: 2, Width: 32, Heads: 4, Inner: 64, Pooling: "cls"},
		"no config.json":    {Layers: 2, Width: 32, Heads: 4, Inner: 64, Bare: true, Pooling: "mean"},
	}
	for f := modeltest.Float32; f <= modeltest.Weights8; f++ {
		base.Form = f
		specs[fmt.Sprintf("form %d", f)] = base
	}
	texts := []string{"", "a", "the cat sits on the mat", "The dog's house: rain, " + strings.Repeat("sun and rain ", 9)}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			dir := modeltest.Make(t, spec)
			e, r := open(t, dir, Options{}), newReference(t, dir, spec)
			got, err := e.Embed(t.Context(), texts)
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range texts {
				want := r.embed(e.words.Encode(nil, text, e.maxTokens), spec.Pooling == "cls")
				if d := distance(got[i], want); d > 1e-5 {
					t.Errorf("%q differs by %g", text, d)
				}
			}
		})
	}
}

// distance is the largest difference of two numbers; one that is not a number is far away.
func distance(got []float32, want []float64) float64 {
	worst := 0.0
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= worst) {
			worst = d
		}
	}
	if len(got) != len(want) || math.IsNaN(worst) {
		return math.Inf(1)
	}
	return worst
}
