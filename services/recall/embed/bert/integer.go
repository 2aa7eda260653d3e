// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"math"

	"github.com/blufio/blufio/services/recall/embed/onnx"
)

// Products of 8 bits are exact whole numbers below 2^16, and a float64 holds whole numbers exactly up to 2^53. So two
// weights stand in one float64, the second one 2^26 times as large, and one multiplication makes two products. Sums of
// them stay apart as long as each is smaller than 2^25, hence wholeRows. All rows together stay below 2^31, for there are
// at most maxInner.
const (
	lane      = 1 << 26
	wholeRows = 512 // 512 · 255 · 255 < 2^25
	wholeCols = 2 * panelCols
)

// addWhole adds x·W as ONNX Runtime's dynamic quantization makes it: x is turned into whole numbers of 8 bits
// (DynamicQuantizeLinear), multiplied as such (MatMulInteger), and the result scaled.
func (s *scratch) addWhole(y, x []float32, m *matrix, n int) {
	scale, zero := s.quantize(x[:n*m.in])
	for c := 0; c < m.out; c += wholeCols {
		cols := min(wholeCols, m.out-c)
		pairs := (cols + 1) / 2
		for k := 0; k < m.in; k += wholeRows {
			rows := min(wholeRows, m.in-k)
			p := s.pairs[:rows*pairs]
			m.pack(p, k, rows, c, cols)
			for t := range n {
				acc := s.acc[:pairs]
				clear(acc)
				accumulate(acc, s.inputs(s.whole[t*m.in+k:][:rows], zero), p)
				unpack(s.sums[t*wholeCols:][:2*pairs], acc, k == 0)
			}
		}
		for t := range n {
			m.scaled(y[t*m.out+c:][:cols], s.sums[t*wholeCols:], c, scale)
		}
	}
}

// scaled adds what the sums stand for to the outputs from c on.
func (m *matrix) scaled(y []float32, sums []int32, c int, scale float32) {
	for j := range y {
		y[j] += float32(sums[j]) * (scale * m.scaleOf(c+j))
	}
}

// quantize fills s.whole with x in whole numbers, and returns their scale and zero point. It follows the definition
// of DynamicQuantizeLinear.
func (s *scratch) quantize(x []float32) (scale, zero float32) {
	lo, hi := float32(0), float32(0)
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
	}
	whole := s.whole[:len(x)]
	scale = (hi - lo) / 255
	if !(scale > 0) {
		clear(whole)
		return 0, 0
	}
	zero = float32(math.RoundToEven(float64(min(max(-lo/scale, 0), 255))))
	for i, v := range x {
		whole[i] = byte(min(max(float32(math.RoundToEven(float64(v/scale)))+zero, 0), 255))
	}
	return scale, zero
}

// inputs are whole numbers as they are multiplied with.
func (s *scratch) inputs(whole []byte, zero float32) []float64 {
	in, z := s.in[:len(whole)], int32(zero)
	for i, b := range whole {
		in[i] = float64(int32(b) - z)
	}
	return in
}

// pack fills p with a part of the weight, two columns in each number.
func (m *matrix) pack(p []float64, k, rows, n, cols int) {
	pairs := (cols + 1) / 2
	w, signed := m.w.Bytes(), m.w.Type == onnx.Int8
	for i := range rows {
		row := w[(k+i)*m.out+n:][:cols]
		to := p[i*pairs:][:pairs]
		switch {
		case len(m.zero) > 1 || cols%2 != 0:
			m.packSlowly(to, row, n)
		case signed:
			packSigned(to, row, int64(m.zero[0])*(lane+1))
		default:
			packUnsigned(to, row, int64(m.zero[0])*(lane+1))
		}
	}
}

func packSigned(to []float64, row []byte, zero int64) {
	for j := range to {
		if len(row) < 2 {
			return
		}
		to[j] = float64(int64(int8(row[0])) + int64(int8(row[1]))*lane - zero)
		row = row[2:]
	}
}

func packUnsigned(to []float64, row []byte, zero int64) {
	for j := range to {
		if len(row) < 2 {
			return
		}
		to[j] = float64(int64(row[0]) + int64(row[1])*lane - zero)
		row = row[2:]
	}
}

// packSlowly is for zero points that differ, and for a column that is left over.
func (m *matrix) packSlowly(to []float64, row []byte, n int) {
	for j := range to {
		v := int64(m.value(row[2*j]) - m.zeroOf(n+2*j))
		if 2*j+1 < len(row) {
			v += int64(m.value(row[2*j+1])-m.zeroOf(n+2*j+1)) * lane
		}
		to[j] = float64(v)
	}
}

// unpack takes the two sums out of each number, and adds them to those before.
func unpack(sums []int32, acc []float64, first bool) {
	if first {
		clear(sums)
	}
	for _, a := range acc {
		if len(sums) < 2 {
			return
		}
		v := int64(a)
		low := v << 38 >> 38 // its 26 bits, with their sign
		sums[0] += int32(low)
		sums[1] += int32((v - low) / lane)
		sums = sums[2:]
	}
}
