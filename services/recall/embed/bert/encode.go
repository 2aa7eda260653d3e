// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"context"
	"math"
)

// scratch are the buffers of one text. They grow to what the longest one needed.
type scratch struct {
	ids    []int32
	x      []float32 // a vector for each token
	work   []float32 // for each token its query, key and value, or later a wide vector
	scores []float32 // of one token with every other
	panel  []float32

	pairs, acc, in []float64 // 8 bits only, and so are the next
	sums           []int32
	whole          []byte
}

func newScratch(m *model) *scratch {
	s := &scratch{panel: make([]float32, panelRows*panelCols)}
	if m.wholes() {
		s.pairs = make([]float64, wholeRows*wholeCols/2)
		s.acc, s.in = make([]float64, wholeCols/2), make([]float64, wholeRows)
	}
	return s
}

// fit makes room for n tokens.
func (s *scratch) fit(m *model, n int) {
	grow(&s.x, n*m.width)
	grow(&s.work, n*max(3*m.width, m.inner))
	grow(&s.scores, n)
	if m.wholes() {
		grow(&s.sums, n*wholeCols)
		grow(&s.whole, n*max(m.inner, m.width))
	}
}

func grow[T any](b *[]T, n int) {
	if cap(*b) < n {
		*b = make([]T, n)
	}
	*b = (*b)[:n]
}

func (s *scratch) bytes() int64 {
	return 4*int64(cap(s.ids)+cap(s.x)+cap(s.work)+cap(s.scores)+cap(s.panel)+cap(s.sums)) +
		8*int64(cap(s.pairs)+cap(s.acc)+cap(s.in)) + int64(cap(s.whole))
}

// wholes reports whether the model calculates with whole numbers anywhere.
func (m *model) wholes() bool {
	for i := range m.layers {
		l := &m.layers[i]
		for _, w := range []*matrix{&l.query, &l.key, &l.value, &l.attended, &l.wide, &l.narrow} {
			if w.whole {
				return true
			}
		}
	}
	return false
}

// bytes is about what the model has of its weights on the heap: all but the matrices and tables.
func (m *model) bytes() int64 {
	one := 0
	for i := range m.layers {
		l := &m.layers[i]
		for _, w := range []*matrix{&l.query, &l.key, &l.value, &l.attended, &l.wide, &l.narrow} {
			one += len(w.bias) + len(w.scale) + len(w.zero)
		}
		one += 4 * m.width
	}
	return 4 * int64(one+3*m.width)
}

// encode turns s.ids into a vector for each of them, in s.x.
func (m *model) encode(ctx context.Context, s *scratch) error {
	n := len(s.ids)
	s.fit(m, n)
	for t, id := range s.ids {
		x := s.x[t*m.width : (t+1)*m.width]
		copy(x, m.kind)
		if err := m.words.add(x, int(id)); err != nil {
			return err
		}
		if err := m.places.add(x, t); err != nil {
			return err
		}
	}
	m.norm.apply(s.x, m.eps)
	for i := range m.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.layer(&m.layers[i], s, n)
	}
	return nil
}

// layer is one layer of the encoder: every token attends to all, then each is worked at alone.
func (m *model) layer(l *layer, s *scratch, n int) {
	q, k, v := s.work[:n*m.width], s.work[n*m.width:2*n*m.width], s.work[2*n*m.width:3*n*m.width]
	s.product(q, s.x, &l.query, n)
	s.product(k, s.x, &l.key, n)
	s.product(v, s.x, &l.value, n)
	for h := range m.heads {
		m.attend(q, k, v, s.scores[:n], h)
	}
	s.addProduct(s.x, q, &l.attended, n)
	l.norm1.apply(s.x, m.eps)
	inner := s.work[:n*m.inner]
	s.product(inner, s.x, &l.wide, n)
	gelu(inner)
	s.addProduct(s.x, inner, &l.narrow, n)
	l.norm2.apply(s.x, m.eps)
}

// attend makes of each token's query what it gathers from all tokens, in one head; it takes the query's place.
func (m *model) attend(q, k, v, scores []float32, head int) {
	d := m.width / m.heads
	at := head * d
	scale := float32(1 / math.Sqrt(float64(d)))
	for t := range scores {
		mine := q[t*m.width+at:][:d]
		for u := range scores {
			scores[u] = dot(mine, k[u*m.width+at:][:d]) * scale
		}
		shares(scores)
		clear(mine)
		for u, p := range scores {
			for i, x := range v[u*m.width+at:][:len(mine)] {
				mine[i] += p * x
			}
		}
	}
}

// shares makes shares of scores (softmax).
func shares(x []float32) {
	top := x[0]
	for _, v := range x {
		top = max(top, v)
	}
	var sum float32
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v - top)))
		sum += x[i]
	}
	for i := range x {
		x[i] /= sum
	}
}

func add(x, y []float32) {
	for i, v := range y[:len(x)] {
		x[i] += v
	}
}

// gelu is exact: by the error function, not by one of its approximations.
func gelu(x []float32) {
	for i, v := range x {
		x[i] = float32(0.5 * float64(v) * (1 + math.Erf(float64(v)*(1/math.Sqrt2))))
	}
}

// apply brings each vector to mean 0 and variance 1, then to what was learned.
func (l layerNorm) apply(x []float32, eps float32) {
	n := len(l.weight)
	for ; len(x) >= n; x = x[n:] {
		v := x[:n]
		var sum, squares float64
		for _, y := range v {
			sum += float64(y)
		}
		mean := sum / float64(n)
		for _, y := range v {
			squares += (float64(y) - mean) * (float64(y) - mean)
		}
		scale := 1 / math.Sqrt(squares/float64(n)+float64(eps))
		for i, y := range v {
			v[i] = float32((float64(y)-mean)*scale)*l.weight[i] + l.bias[i]
		}
	}
}
