// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/blufio/blufio/services/recall/embed/onnx"
)

// matrix is the weight of a linear layer, as it lies in the file: y = x·W + bias.
type matrix struct {
	in, out int
	w       *onnx.Tensor
	turned  bool      // stored as [out, in] and not as [in, out]
	scale   []float32 // 8 bits: of the whole, or of each output
	zero    []int32   // 8 bits: likewise
	whole   bool      // 8 bits: x is made whole numbers too, as MatMulInteger wants it
	bias    []float32
}

// check holds a matrix against the size that it must have.
func (m *matrix) check(name string, in, out int) error {
	if len(m.w.Dims) != 2 {
		return fmt.Errorf("%s: its weight has the shape %v, not two dimensions", name, m.w.Dims)
	}
	m.in, m.out = m.w.Dims[0], m.w.Dims[1]
	if m.turned {
		m.in, m.out = m.out, m.in
	}
	if m.in != in || m.out != out {
		return fmt.Errorf("%s: its weight is %d×%d, where %d×%d belongs", name, m.in, m.out, in, out)
	}
	if len(m.bias) != out {
		return fmt.Errorf("%s: its bias has %d numbers, where %d belong", name, len(m.bias), out)
	}
	switch m.w.Type {
	case onnx.Float32:
		if m.whole {
			return fmt.Errorf("%s: its weight is no whole number", name)
		}
	case onnx.Int8, onnx.Uint8:
		return m.checkQuantized(name)
	default:
		return fmt.Errorf("%s: its weight is %s; float32 and 8 bits can be used", name, m.w.Type)
	}
	return nil
}

func (m *matrix) checkQuantized(name string) error {
	for _, n := range []int{len(m.scale), len(m.zero)} {
		if n != 1 && n != m.out {
			return fmt.Errorf("%s: it has %d scales or zero points, where 1 or %d belong", name, n, m.out)
		}
	}
	if !slices.ContainsFunc(m.zero, func(z int32) bool { return z != m.zero[0] }) {
		m.zero = m.zero[:1] // alike they are faster
	}
	if m.turned && m.whole {
		return fmt.Errorf("%s: its weight of 8 bits is the wrong way round", name)
	}
	for _, s := range m.scale {
		if !(math.Abs(float64(s)) < math.MaxFloat32) {
			return fmt.Errorf("%s: one of its scales is no number", name)
		}
	}
	return nil
}

// scaleOf and zeroOf are those of an output.
func (m *matrix) scaleOf(n int) float32 { return m.scale[n%len(m.scale)] }
func (m *matrix) zeroOf(n int) int32    { return m.zero[n%len(m.zero)] }

// panel copies a part of the weight, as numbers, into p, row by row: rows k to k+rows of the input, columns n to n+cols.
func (m *matrix) panel(p []float32, k, rows, n, cols int) {
	switch w := m.w.Bytes(); {
	case m.w.Type != onnx.Float32:
		m.widen(p, k, rows, n, cols)
	case m.turned:
		for j := range cols {
			row := w[4*((n+j)*m.in+k):][:4*rows]
			for i := range rows {
				p[i*cols+j] = math.Float32frombits(binary.LittleEndian.Uint32(row[4*i:]))
			}
		}
	default:
		to := asBytes(p)
		for i := range rows {
			copy(to[4*i*cols:4*(i+1)*cols], w[4*((k+i)*m.out+n):])
		}
	}
}

// widen is panel for 8 bits that are calculated with as numbers.
func (m *matrix) widen(p []float32, k, rows, n, cols int) {
	w := m.w.Bytes()
	for i := range rows {
		for j := range cols {
			at := (k+i)*m.out + n + j
			if m.turned {
				at = (n+j)*m.in + k + i
			}
			p[i*cols+j] = float32(m.value(w[at])-m.zeroOf(n+j)) * m.scaleOf(n+j)
		}
	}
}

// value is what a byte of the weight stands for.
func (m *matrix) value(b byte) int32 { return wholeOf(m.w.Type, b) }

func wholeOf(t onnx.Type, b byte) int32 {
	if t == onnx.Int8 {
		return int32(int8(b))
	}
	return int32(b)
}

// table holds a vector for each token, or position.
type table struct {
	rows, width int
	w           *onnx.Tensor
	scale       float32 // 8 bits
	zero        int32   // 8 bits
	row         []byte  // of the file, while it is read
}

func newTable(name string, w *onnx.Tensor) (*table, error) {
	if len(w.Dims) != 2 || w.Bytes() == nil {
		return nil, fmt.Errorf("%s: it has the shape %v and type %s; a table of float32 or 8 bits belongs there", name, w.Dims, w.Type)
	}
	t := &table{rows: w.Dims[0], width: w.Dims[1], w: w, scale: 1}
	switch w.Type {
	case onnx.Float32:
		t.row = make([]byte, 4*min(t.width, maxWidth))
	case onnx.Int8, onnx.Uint8:
		t.row = make([]byte, min(t.width, maxWidth))
	default:
		return nil, fmt.Errorf("%s: it is %s; float32 and 8 bits can be used", name, w.Type)
	}
	return t, nil
}

// add adds a row to x.
func (t *table) add(x []float32, row int) error {
	if err := t.w.ReadRow(t.row, row); err != nil {
		return err
	}
	if t.w.Type == onnx.Float32 {
		for i := range x {
			x[i] += math.Float32frombits(binary.LittleEndian.Uint32(t.row[4*i:]))
		}
		return nil
	}
	for i := range x {
		x[i] += float32(wholeOf(t.w.Type, t.row[i])-t.zero) * t.scale
	}
	return nil
}
