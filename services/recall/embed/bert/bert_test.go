// SPDX-License-Identifier: MIT OR Apache-2.0

package bert

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
)

func open(t testing.TB, dir string, o Options) *Embedder {
	t.Helper()
	e, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func one(t testing.TB, e *Embedder, text string) []float32 {
	t.Helper()
	v, err := e.Embed(t.Context(), []string{text})
	if err != nil {
		t.Fatal(err)
	}
	return v[0]
}

// The vectors are those that ONNX Runtime 1.30 gives for the same files. The module in ../oracle holds another runtime against
// them.
func TestGolden(t *testing.T) {
	for _, form := range []string{"float32", "int8", "channels8"} {
		dir := filepath.Join("testdata", form)
		var cases []struct {
			Text   string
			IDs    []int32
			Vector []float64
		}
		b, err := os.ReadFile(filepath.Join(dir, "golden.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &cases); err != nil || len(cases) < 3 {
			t.Fatal(err, len(cases))
		}
		e := open(t, dir, Options{})
		for _, c := range cases {
			if ids := e.words.Encode(nil, c.Text, e.maxTokens); !slices.Equal(ids, c.IDs) {
				t.Errorf("%s: %q is %v", form, c.Text, ids)
			}
			if d := distance(one(t, e, c.Text), c.Vector); d > 1e-5 {
				t.Errorf("%s: %q differs by %g", form, c.Text, d)
			}
		}
	}
}

// A name tells models and settings apart, and is the same for the same files elsewhere.
func TestName(t *testing.T) {
	spec := modeltest.Spec{Layers: 1}
	a, b := open(t, modeltest.Make(t, spec), Options{}), open(t, modeltest.Make(t, spec), Options{})
	if a.Name() != b.Name() || !strings.HasPrefix(a.Name(), "bert-L1-H32-float32-") || a.Dim() != 32 {
		t.Errorf("%s and %s", a.Name(), b.Name())
	}
	names := map[string]bool{a.Name(): true}
	for i, s := range []modeltest.Spec{{Layers: 1, Seed: 1}, {Layers: 2}, {Layers: 1, Form: modeltest.Dynamic8}, {Layers: 1, Pooling: "cls"},
		{Layers: 1, Heads: 8}, {Layers: 1, Pieces: append(modeltest.Pieces(), "more")}} {
		names[open(t, modeltest.Make(t, s), Options{}).Name()] = true
		if len(names) != i+2 {
			t.Errorf("%+v has the name of another model", s)
		}
	}
	if names[open(t, modeltest.Make(t, spec), Options{MaxTokens: 16}).Name()] {
		t.Error("another limit is no other name")
	}
}

// A text is read as far as the model's files say, and never beyond its positions.
func TestLimits(t *testing.T) {
	dir := modeltest.Make(t, modeltest.Spec{Layers: 1, Positions: 40})
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want int, o Options) {
		t.Helper()
		e := open(t, dir, o)
		if e.MaxTokens() != want {
			t.Errorf("%d tokens, not %d", e.MaxTokens(), want)
		}
		long := strings.Repeat("rain ", want-2)
		if !slices.Equal(one(t, e, long), one(t, e, long+"sun and more")) {
			t.Error("what is beyond the limit counts")
		}
		if slices.Equal(one(t, e, long), one(t, e, strings.TrimSuffix(long, "rain ")+"sun")) {
			t.Error("the last token does not count")
		}
	}
	check(40, Options{})
	put("tokenizer_config.json", `{"model_max_length":1000000000000000019884624838656}`)
	check(40, Options{})
	put("tokenizer_config.json", `{"model_max_length":30}`)
	check(30, Options{})
	put("sentence_bert_config.json", `{"max_seq_length":20,"do_lower_case":false}`)
	check(20, Options{})
	check(10, Options{MaxTokens: 10})
	put("sentence_bert_config.json", `{"max_seq_length":-7}`)
	check(30, Options{})
}

// Many may ask at once, while memory is given back; each gets its own vector.
func TestAtOnce(t *testing.T) {
	e := open(t, modeltest.Make(t, modeltest.Spec{Layers: 1, Form: modeltest.Dynamic8}), Options{})
	texts := []string{"the cat", "a dog in the rain", "", "where is the house?"}
	var want [][]float32
	for _, text := range texts {
		want = append(want, one(t, e, text))
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 20 {
				at := (i + j) % len(texts)
				v, err := e.Embed(t.Context(), texts[at:at+1])
				if err != nil || !slices.Equal(v[0], want[at]) {
					t.Errorf("%q: %v", texts[at], err)
				}
				if i == 0 {
					if _, err := e.Shed(); err != nil {
						t.Error(err)
					}
					e.Baseline()
				}
			}
		})
	}
	all.Wait()
}

// What is shed is counted, and comes again.
func TestShed(t *testing.T) {
	dir := modeltest.Make(t, modeltest.Spec{Width: 256, Heads: 4, Inner: 1024, Layers: 2})
	e := open(t, dir, Options{})
	want := one(t, e, "the cat sits on the mat")
	full, anonymous := e.Baseline()
	file, err := os.Stat(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if mapped := full - anonymous; mapped < file.Size()*9/10 || mapped > file.Size()+int64(os.Getpagesize()) || anonymous < e.words.Bytes() {
		t.Errorf("of %d bytes %d are told to be the file's, which has %d", full, mapped, file.Size())
	}
	freed, err := e.Shed()
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := e.Baseline(); full < 6<<20 || freed < full*8/10 || rest != full-freed {
		t.Errorf("of %d bytes %d were freed, %d are left", full, freed, rest)
	}
	if !slices.Equal(one(t, e, "the cat sits on the mat"), want) {
		t.Error("another vector after shedding")
	}
	if now, _ := e.Baseline(); now < full*9/10 {
		t.Errorf("%d bytes, %d before", now, full)
	}
}

// A caller that gives up is let go, also while another one is being served.
func TestCanceled(t *testing.T) {
	e := open(t, modeltest.Make(t, modeltest.Spec{}), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Embed(ctx, []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-e.turn
	if _, err := e.Embed(ctx, []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	e.turn <- struct{}{}
	one(t, e, "a")
}

func TestClosed(t *testing.T) {
	e := open(t, modeltest.Make(t, modeltest.Spec{}), Options{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Embed(t.Context(), []string{"a"}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if n, err := e.Shed(); n != 0 || err != nil {
		t.Error(n, err)
	}
	e.Baseline()
}

// A file that is cut short while it is in use is an error of that call.
func TestCutShort(t *testing.T) {
	dir := modeltest.Make(t, modeltest.Spec{Width: 256, Heads: 4, Inner: 1024})
	e := open(t, dir, Options{})
	if _, err := e.Shed(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "model.onnx"), 64<<10); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Embed(t.Context(), []string{"the cat"}); err == nil {
		t.Error("no error")
	}
	if all, _ := e.Baseline(); e.Name() == "" || all < 0 {
		t.Error("it cannot be asked any more")
	}
}

// write changes a model's directory: it writes a file.
func write(name, content string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// replace changes a name in the model's file to one of the same length.
func replace(old, by string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		b, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
		if err != nil || !bytes.Contains(b, []byte(old)) || len(old) != len(by) {
			t.Fatal(err, "nothing to replace")
		}
		write("model.onnx", strings.ReplaceAll(string(b), old, by))(t, dir)
	}
}

// remove deletes a file.
func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// many is the content of a file of weights that are all the same.
func many(x float64) string {
	return strings.Repeat(string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(x)))), 1<<20)
}

// A model that cannot be used is refused in one line that names it.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		spec   modeltest.Spec
		change func(*testing.T, string)
		says   string
	}{
		"another family":         {modeltest.Spec{}, write("config.json", `{"model_type":"distilbert"}`), `model_type is "distilbert"`},
		"another activation":     {modeltest.Spec{}, write("config.json", `{"hidden_act":"gelu_new"}`), `hidden_act is "gelu_new"`},
		"relative positions":     {modeltest.Spec{}, write("config.json", `{"position_embedding_type":"relative_key"}`), "relative_key"},
		"no JSON":                {modeltest.Spec{}, write("config.json", `{`), "config.json"},
		"odd heads":              {modeltest.Spec{}, write("config.json", `{"num_attention_heads":5}`), "heads"},
		"another pooling":        {modeltest.Spec{}, write("1_Pooling/config.json", `{"pooling_mode_max_tokens":true}`), "max_tokens"},
		"two poolings":           {modeltest.Spec{}, write("1_Pooling/config.json", `{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}`), "cls_token"},
		"a module more":          {modeltest.Spec{}, write("modules.json", `[{"idx":0,"type":"sentence_transformers.models.Transformer"},{"idx":1,"type":"sentence_transformers.models.Dense"}]`), "module Dense"},
		"the usual modules":      {modeltest.Spec{}, write("modules.json", `[{"type":"sentence_transformers.models.Transformer"},{"type":"sentence_transformers.models.Pooling"},{"type":"sentence_transformers.models.Normalize"}]`), ""},
		"endless settings":       {modeltest.Spec{}, write("config.json", strings.Repeat(" ", maxSettings+1)), "more than 1024 KB"},
		"a prefix of others":     {modeltest.Spec{Prefix: "roberta."}, nil, "another family (roberta)"},
		"no words":               {modeltest.Spec{}, replace("embeddings.word_embeddings.weight", "embeddings.toke_embeddings.weight"), "no model of the BERT family"},
		"no layers":              {modeltest.Spec{}, replace("encoder.layer.0.output.LayerNorm.weight", "encoder.layer.x.output.LayerNorm.weight"), "encoder.layer.0.output.LayerNorm.weight"},
		"no bias":                {modeltest.Spec{}, replace("encoder.layer.1.attention.self.key.bias", "encoder.layer.1.attention.self.kex.bias"), "self.key.bias"},
		"no weight":              {modeltest.Spec{}, replace("onnx::MatMul_790", "onnx::MatMul_xxx"), ""}, // renamed everywhere: it fits
		"no GELU":                {modeltest.Spec{}, replace("Erf", "Tan"), "not GELU"},
		"fused":                  {modeltest.Spec{}, replace("Unsqueeze", "Attention"), "by an optimizer (it has Attention)"},
		"a tokenizer of another": {modeltest.Spec{}, write("vocab.txt", strings.Join(modeltest.Pieces(), "\n")+"\nmore\n"), "different models"},
		"no tokenizer":           {modeltest.Spec{}, remove("vocab.txt"), "neither tokenizer.json nor vocab.txt"},
		"no model":               {modeltest.Spec{}, remove("model.onnx"), "model.onnx"},
		"not a number":           {modeltest.Spec{External: true, Width: 256, Heads: 4}, write("model.onnx_data", many(math.NaN())), "no numbers"},
		"infinite":               {modeltest.Spec{External: true, Width: 256, Heads: 4}, write("model.onnx_data", many(math.Inf(1))), "no numbers"},
		"weights too short":      {modeltest.Spec{External: true}, write("model.onnx_data", "short"), "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := modeltest.Make(t, c.spec)
			if c.change != nil {
				c.change(t, dir)
			}
			e, err := Open(dir, Options{})
			if err == nil {
				err = e.Probe(t.Context())
				_ = e.Close()
			}
			if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// The model may lie below, and have another name if there is one only.
func TestWhereItLies(t *testing.T) {
	dir := modeltest.Make(t, modeltest.Spec{Layers: 1})
	name := open(t, dir, Options{}).Name()
	move := func(from, to string) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o700), os.Rename(filepath.Join(dir, from), filepath.Join(dir, to))); err != nil {
			t.Fatal(err)
		}
		if e := open(t, dir, Options{}); e.Name() != name {
			t.Errorf("at %s it is %s, not %s", to, e.Name(), name)
		}
	}
	move("model.onnx", "onnx/model.onnx")
	move("onnx/model.onnx", "onnx/model_quantized.onnx")
	move("onnx/model_quantized.onnx", "x.onnx")
	if err := os.WriteFile(filepath.Join(dir, "y.onnx"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "model.onnx") {
		t.Errorf("which of two is unclear: %v", err)
	}
}

// Models that are damaged anywhere are refused or give vectors of length 1; nothing worse.
func TestDamaged(t *testing.T) {
	for _, form := range []modeltest.Form{modeltest.Float32, modeltest.Unsigned8, modeltest.Gemm} {
		dir := modeltest.Make(t, modeltest.Spec{Layers: 1, Width: 8, Heads: 2, Inner: 16, Positions: 8, Form: form, Tables8: form == modeltest.Unsigned8})
		good, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(good); i += 211 {
			bad := slices.Clone(good)
			bad[i] ^= byte(1 << (i % 8))
			bad[(i*7919)%len(bad)] ^= 0xff
			tryDamaged(t, dir, bad)
		}
	}
}

func tryDamaged(t *testing.T, dir string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Open(dir, Options{})
	if err != nil {
		return
	}
	defer e.Close()
	v, err := e.Embed(t.Context(), []string{"the cat sits"})
	if err != nil {
		return
	}
	var sum float64
	for _, x := range v[0] {
		sum += float64(x) * float64(x)
	}
	if math.Abs(sum-1) > 1e-4 {
		t.Errorf("a vector of length %v", sum)
	}
}

// Whatever is in a model's file.
func FuzzModel(f *testing.F) {
	for _, form := range []modeltest.Form{modeltest.Float32, modeltest.Unsigned8, modeltest.Weights8} {
		b, err := os.ReadFile(filepath.Join(modeltest.Make(f, modeltest.Spec{Layers: 1, Width: 8, Heads: 2, Inner: 16, Positions: 8, Form: form, Tables8: form == modeltest.Unsigned8}), "model.onnx"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := modeltest.Make(t, modeltest.Spec{Layers: 1, Width: 8, Heads: 2, Inner: 16, Positions: 8})
		tryDamaged(t, dir, b)
	})
}
