// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"fmt"
	"strings"

	"github.com/blufio/blufio/services/recall/embed/onnx"
)

// linear finds the weight of a linear layer. Its bias keeps its name in an export; the weight mostly does not ("onnx::MatMul_787"), for
// it is turned round then, and quantized later. So it is looked for from the bias on: what is added to it was made by the multiplication.
func (b *binder) linear(name string) (matrix, error) {
	bias, err := b.tensor(name + ".bias")
	if err != nil {
		return matrix{}, err
	}
	m := matrix{}
	if m.bias, err = bias.Floats(); err != nil {
		return m, err
	}
	found := false
	for _, n := range b.m.To(b.prefix + name + ".bias") {
		switch n.Op {
		case "Gemm":
			found, err = true, b.gemm(name, n, &m)
		case "Add":
			other := n.Input(0)
			if other == b.prefix+name+".bias" {
				other = n.Input(1)
			}
			found, err = true, b.multiplied(name, other, &m)
		}
	}
	if !found {
		err = b.named(name, &m)
	}
	return m, err
}

// named finds a multiplication by its own name, which is the path of the layer: where the bias has another name.
func (b *binder) named(name string, m *matrix) error {
	path := "/" + strings.ReplaceAll(strings.Replace(name, "layer.", "layer#", 1), ".", "/")
	path = strings.Replace(path, "layer#", "layer.", 1) + "/MatMul"
	for _, n := range b.m.Nodes {
		if strings.HasSuffix(n.Name, path) || strings.HasSuffix(n.Name, path+"_quant") {
			return b.product(name, n, m)
		}
	}
	return fmt.Errorf("where it multiplies by %s.weight cannot be found", name)
}

// gemm takes the weight of a Gemm, which has the bias in it.
func (b *binder) gemm(name string, n *onnx.Node, m *matrix) error {
	alpha, isAlpha := n.Float("alpha")
	beta, isBeta := n.Float("beta")
	if n.Int("transA", 0) != 0 || isAlpha && alpha != 1 || isBeta && beta != 1 {
		return fmt.Errorf("%s: its Gemm does more than multiply and add", name)
	}
	if err := b.weight(name, n.Input(1), m); err != nil {
		return err
	}
	m.turned = m.turned != (n.Int("transB", 0) != 0)
	return nil
}

// multiplied follows a value back to the multiplication that made it: directly, or over the scaling of MatMulInteger's result.
func (b *binder) multiplied(name, value string, m *matrix) error {
	queue := []string{value}
	for range 8 {
		if len(queue) == 0 {
			break
		}
		n := b.m.From(queue[0])
		queue = queue[1:]
		if n == nil {
			continue
		}
		switch n.Op {
		case "MatMul", "MatMulInteger":
			return b.product(name, n, m)
		case "Mul", "Cast", "Identity", "Reshape", "QuantizeLinear", "DequantizeLinear":
			queue = append(queue, n.Inputs...)
		}
	}
	return fmt.Errorf("where it multiplies by %s.weight cannot be found", name)
}

// product takes the weight of a multiplication.
func (b *binder) product(name string, n *onnx.Node, m *matrix) error {
	if n.Op == "MatMul" {
		return b.weight(name, n.Input(1), m)
	}
	if n.Op != "MatMulInteger" {
		return fmt.Errorf("%s: it is calculated by %s, which cannot be used", name, n.Op)
	}
	w, ok := b.m.Tensor(n.Input(1))
	if !ok {
		return fmt.Errorf("%s: its weight is not stored in the model", name)
	}
	m.w, m.whole = w, true
	scale, err := b.scaleName(n)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.scale, m.zero, err = b.scales(scale, n.Input(3))
	return err
}

// scaleName finds the scale of a MatMulInteger's weight: by its name, or by following the result to where it is scaled.
func (b *binder) scaleName(n *onnx.Node) (string, error) {
	if stem, ok := strings.CutSuffix(n.Input(1), "_quantized"); ok {
		if _, ok := b.m.Tensor(stem + "_scale"); ok {
			return stem + "_scale", nil
		}
	}
	for _, cast := range b.users(n) {
		for _, scaled := range b.users(cast) {
			for _, in := range scaled.Inputs {
				if by := b.m.From(in); by != nil && by.Op == "Mul" {
					for _, s := range by.Inputs {
						if t, ok := b.m.Tensor(s); ok && t.Type == onnx.Float32 {
							return s, nil
						}
					}
				}
			}
		}
	}
	return "", fmt.Errorf("the scale of %s cannot be found", n.Input(1))
}

// users are the nodes that use what n makes.
func (b *binder) users(n *onnx.Node) []*onnx.Node {
	if len(n.Outputs) == 0 {
		return nil
	}
	return b.m.To(n.Outputs[0])
}

// weight takes a weight that a float32 multiplication uses: as it is, turned round, or made of 8 bits.
func (b *binder) weight(name, value string, m *matrix) error {
	if w, ok := b.m.Tensor(value); ok {
		m.w = w
		return nil
	}
	n := b.m.From(value)
	if n == nil {
		return fmt.Errorf("%s: its weight is not stored in the model", name)
	}
	switch n.Op {
	case "Transpose":
		m.turned = !m.turned
		return b.weight(name, n.Input(0), m)
	case "DequantizeLinear":
		w, ok := b.m.Tensor(n.Input(0))
		if !ok || m.w != nil {
			break
		}
		m.w = w
		var err error
		m.scale, m.zero, err = b.scales(n.Input(1), n.Input(2))
		if axis := n.Int("axis", 1); err == nil && len(m.scale) > 1 && (axis == 0 || axis == -2) != m.turned {
			err = fmt.Errorf("%s: its scales are those of its inputs; of its outputs can be used", name)
		}
		return err
	}
	return fmt.Errorf("%s: its weight is made by %s, which cannot be used", name, n.Op)
}
