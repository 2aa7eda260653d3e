// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
	"github.com/blufio/blufio/services/recall/embed/onnx"
)

// Sums are exact whole numbers, also where every number is as large as it can be.
func TestExactSums(t *testing.T) {
	dir := modeltest.Make(t, modeltest.Spec{Layers: 1, Width: 64, Heads: 2, Inner: 1300, Form: modeltest.Unsigned8})
	path := filepath.Join(dir, "model.onnx")
	random := rand.New(rand.NewPCG(1, 2))
	for name, fill := range map[string]func() byte{
		"largest":  func() byte { return 255 },
		"smallest": func() byte { return 0 },
		"any":      func() byte { return byte(random.Uint32()) },
	} {
		for _, zero := range []int32{0, 255, 100} {
			m := weights(t, path, fill)
			m.zero = []int32{zero}
			s := newScratch(&model{layers: []layer{{query: *m}}})
			grow(&s.sums, 2*wholeCols)
			grow(&s.whole, 2*m.in)
			x := make([]float32, 2*m.in)
			for i := range x {
				x[i] = float32(i % 256)
			}
			for i := range m.in {
				x[i] = 255 // the whole first row, as large as it can be
			}
			y := make([]float32, 2*m.out)
			s.addProduct(y, x, m, 2)
			for r := range 2 {
				for o := range m.out {
					var sum int64
					for i := range m.in {
						sum += int64(x[r*m.in+i]) * (int64(m.w.Bytes()[i*m.out+o]) - int64(zero))
					}
					if want := float32(sum); math.Abs(float64(y[r*m.out+o]-want)) > math.Abs(float64(want))*1e-6 {
						t.Fatalf("%s, zero %d: output %d of row %d is %v, not %v", name, zero, o, r, y[r*m.out+o], want)
					}
				}
			}
		}
	}
}

// weights are those of the narrow layer of a model of modeltest, filled anew.
func weights(t *testing.T, path string, fill func() byte) *matrix {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old := narrow(t, path).Bytes()
	at := bytes.Index(content, old)
	for i := range old {
		content[at+i] = fill()
	}
	path = filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	w := narrow(t, path)
	return &matrix{in: w.Dims[0], out: w.Dims[1], w: w, whole: true, scale: []float32{1}, bias: make([]float32, w.Dims[1])}
}

func narrow(t *testing.T, path string) *onnx.Tensor {
	t.Helper()
	m, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	w, ok := m.Tensor("onnx::MatMul_792_quantized")
	if !ok {
		t.Fatal("no weight")
	}
	return w
}

// However many words are looked up, their table stays out of memory.
func TestTableStaysOut(t *testing.T) {
	const vocab, width = 20000, 128
	e := open(t, modeltest.Make(t, modeltest.Spec{Layers: 1, Width: width, Heads: 2, Inner: 128, Vocab: vocab, Positions: 512}), Options{})
	if _, err := e.Shed(); err != nil {
		t.Fatal(err)
	}
	s := newScratch(e.m)
	for from := 0; from+512 <= vocab; from += 512 {
		s.ids = s.ids[:0]
		for i := range 512 {
			s.ids = append(s.ids, int32(from+i))
		}
		s.fit(e.m, 512)
		for i, id := range s.ids {
			if err := e.m.words.add(s.x[i*width:(i+1)*width], int(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := e.file.Resident(); n > 1<<20 {
		t.Errorf("%d bytes of the file are resident after every one of %d bytes of words was looked up", n, vocab*width*4)
	}
}
