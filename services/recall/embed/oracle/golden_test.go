// SPDX-License-Identifier: MIT OR Apache-2.0

package oracle

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// The golden vectors in bert's testdata are those of ONNX Runtime; this one comes to the same. So whoever makes them
// anew can take either.
func TestGoldenVectors(t *testing.T) {
	for _, form := range []string{"float32", "int8", "channels8"} {
		dir := filepath.Join("..", "bert", "testdata", form)
		b, err := os.ReadFile(filepath.Join(dir, "golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Text   string
			IDs    []int32
			Vector []float64
		}
		if err := json.Unmarshal(b, &cases); err != nil {
			t.Fatal(err)
		}
		o := newOracle(t, dir)
		for _, c := range cases {
			for i, x := range o.embed(t, c.IDs) {
				if math.Abs(x-c.Vector[i]) > 1e-5 {
					t.Fatalf("%s: %q differs at %d: %v, not %v", form, c.Text, i, x, c.Vector[i])
				}
			}
		}
	}
}
