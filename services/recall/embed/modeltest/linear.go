// SPDX-License-Identifier: MIT OR Apache-2.0

package modeltest

import (
	"fmt"
	"math"
)

// linear adds a linear layer in the form of the model.
func (g *graph) linear(name, x string, in, out int) string {
	full := g.Prefix + name
	at := path(full) + "/"
	w := g.random(in*out, 0, float32(1.2/math.Sqrt(float64(in)))) // [in, out]
	bias := g.floats(full+".bias", []int{out}, g.random(out, 0, 0.1))
	if g.Renamed {
		bias = g.op(at+"Identity", "Identity", []string{bias})
	}
	switch g.Form {
	case Gemm:
		return g.gemm(at, x, g.floats(full+".weight", []int{out, in}, turn(w, in, out)), bias, in, out)
	case Transpose:
		t := g.op(at+"Transpose", "Transpose", []string{g.floats(full+".weight", []int{out, in}, turn(w, in, out))}, integers("perm", 1, 0))
		return g.added(at, bias, g.op(at+"MatMul", "MatMul", []string{x, t}))
	}
	g.count++
	lost := fmt.Sprintf("onnx::MatMul_%d", 786+g.count)
	switch g.Form {
	case Float32:
		return g.added(at, bias, g.op(at+"MatMul", "MatMul", []string{x, g.floats(lost, []int{in, out}, w)}))
	case Weights8:
		q, scale, zero := g.storeQuantized(lost, []int{in, out}, quantize(w, out, Channels8))
		d := g.op(lost+"_DequantizeLinear", "DequantizeLinear", []string{q, scale, zero}, integer("axis", 1))
		return g.added(at, bias, g.op(at+"MatMul", "MatMul", []string{x, d}))
	}
	q, scale, zero := g.storeQuantized(lost, []int{in, out}, quantize(w, out, g.Form))
	return g.added(at, bias, g.integer(at+"MatMul", x, q, scale, zero))
}

// added adds the bias, which exports put first.
func (g *graph) added(at, bias, y string) string { return g.op(at+"Add", "Add", []string{bias, y}) }

// integer adds a multiplication as quantize_dynamic of ONNX Runtime writes it.
func (g *graph) integer(name, x, w, scale, zero string) string {
	q, ok := g.quant[x]
	if !ok {
		q = [3]string{x + "_quantized", x + "_scale", x + "_zero_point"}
		g.quant[x] = q
		g.node(x+"_QuantizeLinear", "DynamicQuantizeLinear", []string{x}, q[:])
	}
	y := name + "_output_0"
	g.node(name+"_quant", "MatMulInteger", []string{q[0], w, q[2], zero}, []string{y + "_output_quantized"})
	g.node(y+"_output_quantized_cast", "Cast", []string{y + "_output_quantized"}, []string{y + "_output_quantized_cast_output"}, integer("to", typeFloat))
	g.node(name+"_quant_scales_mul", "Mul", []string{q[1], scale}, []string{name + "_quant_scales_mul:0"})
	g.node(name+"_quant_output_scale_mul", "Mul", []string{y + "_output_quantized_cast_output", name + "_quant_scales_mul:0"}, []string{y})
	return y
}

// gemm adds a Gemm, which wants two dimensions.
func (g *graph) gemm(at, x, w, bias string, in, out int) string {
	flat := g.op(at+"Reshape", "Reshape", []string{x, g.whole(at+"Constant", -1, int64(in))})
	y := g.op(at+"Gemm", "Gemm", []string{flat, w, bias}, integer("transB", 1))
	return g.op(at+"Reshape_1", "Reshape", []string{y, g.sizes(at, "_o", x, int64(out))})
}

func turn(w []float32, in, out int) []float32 {
	t := make([]float32, len(w))
	for i := range in {
		for o := range out {
			t[o*in+i] = w[i*out+o]
		}
	}
	return t
}

// quantized are weights of 8 bits.
type quantized struct {
	kind   uint64
	data   []byte
	scale  []float32
	zero   []byte
	single bool
}

// quantize makes 8 bits of weights with so many columns: symmetric ones with a sign, or such with a zero point.
func quantize(w []float32, cols int, form Form) quantized {
	q := quantized{kind: typeInt8, data: make([]byte, len(w)), single: form != Channels8}
	groups := 1
	if !q.single {
		groups = cols
	}
	lo, hi := make([]float32, groups), make([]float32, groups)
	for i, v := range w {
		c := i % groups
		lo[c], hi[c] = min(lo[c], v), max(hi[c], v)
	}
	for c := range groups {
		scale, zero := max(hi[c], -lo[c])/127, float32(0)
		if form == Unsigned8 {
			scale = (hi[c] - lo[c]) / 255
			zero = float32(math.RoundToEven(float64(-lo[c] / scale)))
		}
		q.scale, q.zero = append(q.scale, scale), append(q.zero, byte(zero))
	}
	if form == Unsigned8 {
		q.kind = typeUint8
	}
	for i, v := range w {
		c := i % groups
		q.data[i] = byte(int32(math.RoundToEven(float64(v/q.scale[c]))) + int32(q.zero[c]))
	}
	return q
}

// storeQuantized adds the three tensors of a quantized weight.
func (g *graph) storeQuantized(name string, dims []int, q quantized) (weight, scale, zero string) {
	shape := []int{len(q.scale)}
	if q.single {
		shape = nil
	}
	weight = g.store(name+"_quantized", q.kind, dims, q.data)
	scale = g.floats(name+"_scale", shape, q.scale)
	if g.NoZeros && q.kind == typeInt8 {
		return weight, scale, ""
	}
	return weight, scale, g.store(name+"_zero_point", q.kind, shape, q.zero)
}
