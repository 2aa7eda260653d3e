// SPDX-License-Identifier: MIT OR Apache-2.0

package oracle

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/blufio/blufio/services/recall/embed/bert"
	"github.com/blufio/blufio/services/recall/embed/modeltest"
	"github.com/blufio/blufio/services/recall/embed/wordpiece"
	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/onnx-gomlx/onnx"
)

var texts = []string{
	"the cat sits on the mat",
	"weather in the city: 日本語, rain and sun!",
	"",
	"a",
	"The HOUSE of the dog is in the city, and the rain is on it; the cat (is) where the sun is.",
}

// Every form of a model gives the vectors that the runtime gives, which executes its graph.
func TestEveryFormAgrees(t *testing.T) {
	specs := map[string]modeltest.Spec{
		"one operation per norm": {NormOp: true, Prefix: "bert."},
		"quantized tables":       {Form: modeltest.Dynamic8, Tables8: true},
		"odd sizes":              {Layers: 3, Width: 60, Heads: 5, Inner: 77},
		"wide":                   {Width: 512, Heads: 8, Inner: 1024, Positions: 80},
		"wide, 8 bits":           {Width: 512, Heads: 8, Inner: 1024, Form: modeltest.Channels8},
		"renamed biases":         {Renamed: true},
	}
	for f := modeltest.Float32; f <= modeltest.Weights8; f++ {
		// The runtime knows no zero point for each output where weights are made wide again.
		specs[fmt.Sprintf("form %d", f)] = modeltest.Spec{Form: f, NoZeros: f == modeltest.Weights8}
	}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			limit := 2e-6
			if spec.Form >= modeltest.Dynamic8 && spec.Width > 100 {
				limit = 2e-3 // a number half way between two steps may go to either
			}
			compare(t, modeltest.Make(t, spec), limit)
		})
	}
}

// The model of whoever runs this agrees, too.
func TestModelOfTheOwnerAgrees(t *testing.T) {
	dir := os.Getenv("BLUFIO_TEST_MODEL_DIR")
	if dir == "" {
		t.Skip("BLUFIO_TEST_MODEL_DIR is not set")
	}
	compare(t, dir, 5e-3)
}

func compare(t *testing.T, dir string, limit float64) {
	t.Helper()
	ours, err := bert.Open(dir, bert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	words, err := wordpiece.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := newOracle(t, dir)
	for _, text := range texts {
		got, err := ours.Embed(t.Context(), []string{text})
		if err != nil {
			t.Fatal(err)
		}
		want := o.embed(t, words.Encode(nil, text, ours.MaxTokens()))
		worst := 0.0
		for i, w := range want {
			worst = max(worst, math.Abs(float64(got[0][i])-w))
		}
		t.Logf("%.8f %q", worst, text)
		if worst > limit || math.IsNaN(worst) {
			t.Errorf("%q differs by %.8f, more than %g", text, worst, limit)
		}
	}
}

// oracle runs a model's graph.
type oracle struct {
	backend backends.Backend
	model   *onnx.Model
	ctx     *context.Context
}

func newOracle(t *testing.T, dir string) *oracle {
	t.Helper()
	path := filepath.Join(dir, "model.onnx")
	model, err := onnx.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.New()
	if err := model.VariablesToContext(ctx); err != nil {
		t.Fatal(err)
	}
	backend, err := simplego.New("dotgeneral_small") // its other way of multiplying whole numbers fails
	if err != nil {
		t.Fatal(err)
	}
	return &oracle{backend: backend, model: model, ctx: ctx.Reuse()}
}

// embed returns the mean of all tokens' vectors, with length 1.
func (o *oracle) embed(t *testing.T, ids []int32) []float64 {
	t.Helper()
	in, mask, kinds := make([]int64, len(ids)), make([]int64, len(ids)), make([]int64, len(ids))
	for i, id := range ids {
		in[i], mask[i] = int64(id), 1
	}
	out, err := context.ExecOnce(o.backend, o.ctx, func(ctx *context.Context, inputs []*graph.Node) *graph.Node {
		return o.model.CallGraph(ctx, inputs[0].Graph(), map[string]*graph.Node{
			"input_ids": inputs[0], "attention_mask": inputs[1], "token_type_ids": inputs[2]})[0]
	}, [][]int64{in}, [][]int64{mask}, [][]int64{kinds})
	if err != nil {
		t.Fatal(err)
	}
	hidden := out.Value().([][][]float32)[0]
	mean, length := make([]float64, len(hidden[0])), 0.0
	for _, v := range hidden {
		for i, x := range v {
			mean[i] += float64(x)
		}
	}
	for _, x := range mean {
		length += x * x
	}
	for i := range mean {
		mean[i] /= math.Sqrt(length)
	}
	return mean
}
