// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import "unsafe"

// A product goes through the weight in panels small enough for the processor's second cache, and through all tokens for each:
// so the weight is read from the file once a text. Within a panel eight rows are added up at a time, which keeps
// eight inputs in registers and saves loading and storing the sum. Measured, that is as fast as a Go compiler's
// scalar code gets; register tiles are three times slower.
const (
	panelRows = 512
	panelCols = 64
)

// product calculates y = x·W + bias for n tokens.
func (s *scratch) product(y, x []float32, m *matrix, n int) {
	clear(y[:n*m.out])
	s.addProduct(y, x, m, n)
}

// addProduct calculates y = y + x·W + bias for n tokens.
func (s *scratch) addProduct(y, x []float32, m *matrix, n int) {
	for t := range n {
		add(y[t*m.out:(t+1)*m.out], m.bias)
	}
	if m.whole {
		s.addWhole(y, x, m, n)
		return
	}
	for c := 0; c < m.out; c += panelCols {
		cols := min(panelCols, m.out-c)
		for k := 0; k < m.in; k += panelRows {
			rows := min(panelRows, m.in-k)
			p := s.panel[:rows*cols]
			m.panel(p, k, rows, c, cols)
			for t := range n {
				accumulate(y[t*m.out+c:t*m.out+c+cols], x[t*m.in+k:t*m.in+k+rows], p)
			}
		}
	}
}

// number is what is calculated with.
type number interface{ float32 | float64 }

// accumulate adds x·p to y; p has a row of len(y) for each of x.
func accumulate[T number](y, x, p []T) {
	n := len(y)
	for len(x) >= 8 && len(p) >= 8*n {
		x0, x1, x2, x3, x4, x5, x6, x7 := x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
		w0, w1, w2, w3 := p[:n], p[n:][:n], p[2*n:][:n], p[3*n:][:n]
		w4, w5, w6, w7 := p[4*n:][:n], p[5*n:][:n], p[6*n:][:n], p[7*n:][:n]
		for i := range y {
			y[i] += (x0*w0[i] + x1*w1[i]) + (x2*w2[i] + x3*w3[i]) + ((x4*w4[i] + x5*w5[i]) + (x6*w6[i] + x7*w7[i]))
		}
		x, p = x[8:], p[8*n:]
	}
	for len(x) > 0 && len(p) >= n {
		for i, w := range p[:n] {
			y[i] += x[0] * w
		}
		x, p = x[1:], p[n:]
	}
}

// dot is the product of two vectors of one length.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	for len(a) >= 4 && len(b) >= 4 {
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		a, b = a[4:], b[4:]
	}
	for i := range a {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// asBytes is the memory of p.
func asBytes(p []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p))), 4*len(p))
}
