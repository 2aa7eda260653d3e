// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/recall/embed/modeltest"
	"google.golang.org/protobuf/encoding/protowire"
)

func open(t testing.TB, dir string) *Model {
	t.Helper()
	m, err := Open(filepath.Join(dir, "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Weights are found in the file and beside it, as views, and rows of them by reading.
func TestTensors(t *testing.T) {
	for _, external := range []bool{false, true} {
		m := open(t, modeltest.Make(t, modeltest.Spec{Layers: 1, External: external}))
		w, ok := m.Tensor("embeddings.word_embeddings.weight")
		if !ok || w.Type != Float32 || !slices.Equal(w.Dims, []int{len(modeltest.Pieces()), 32}) {
			t.Fatalf("%+v", w)
		}
		all, err := w.Floats()
		if err != nil {
			t.Fatal(err)
		}
		row := make([]byte, 4*32)
		if err := w.ReadRow(row, 5); err != nil {
			t.Fatal(err)
		}
		for i := range 32 {
			if x := math.Float32frombits(binary.LittleEndian.Uint32(row[4*i:])); x != all[5*32+i] || x == 0 {
				t.Fatalf("number %d of row 5 is %v read and %v mapped", i, x, all[5*32+i])
			}
		}
		for _, r := range []int{-1, w.Dims[0], math.MaxInt} {
			if err := w.ReadRow(row, r); err == nil {
				t.Errorf("there is a row %d", r)
			}
		}
		if _, ok := m.Tensor("no such thing"); ok {
			t.Error("a tensor that is not there")
		}
		if n := len(m.files); n != 1 && !external || n != 2 && external {
			t.Errorf("%d files", n)
		}
	}
}

// The graph can be followed from a bias to the multiplication.
func TestGraph(t *testing.T) {
	m := open(t, modeltest.Make(t, modeltest.Spec{Layers: 1, Renamed: true}))
	bias := "/encoder/layer.0/attention/self/query/Identity_output_0"
	if b, ok := m.Tensor(bias); !ok || b.Len() != 32 {
		t.Fatal("Identity is not followed")
	}
	n := m.To(bias)
	if len(n) != 1 || n[0].Op != "Add" || m.From(n[0].Input(1)).Op != "MatMul" || n[0].Input(9) != "" {
		t.Fatalf("%+v", n)
	}
	m.Forget()
	if m.From("x") != nil || m.To("x") != nil {
		t.Error("something is left of the graph")
	}
}

// What is shed comes again, and is not resident in between.
func TestShed(t *testing.T) {
	m := open(t, modeltest.Make(t, modeltest.Spec{Width: 256, Inner: 1024, Layers: 2}))
	var sum byte
	for _, b := range m.files[0].data {
		sum += b
	}
	before := m.Resident()
	if before < m.Size()*9/10 || before > m.Size()+1<<16 {
		t.Errorf("%d of %d bytes are resident after reading them all", before, m.Size())
	}
	if err := m.Shed(); err != nil {
		t.Fatal(err)
	}
	if after := m.Resident(); after > before/10 {
		t.Errorf("%d of %d bytes are still resident", after, before)
	}
	for _, b := range m.files[0].data {
		sum -= b
	}
	if sum != 0 {
		t.Error("the file reads differently")
	}
}

// A file that is cut short under a running process is an error, not the process's end.
func TestCutShort(t *testing.T) {
	dir := modeltest.Make(t, modeltest.Spec{Width: 256, Inner: 1024, Layers: 2})
	m := open(t, dir)
	if err := m.Shed(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "model.onnx"), 4096); err != nil {
		t.Fatal(err)
	}
	var sum byte
	err := Guard(func() error {
		for _, b := range m.files[0].data {
			sum += b
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("%v (%d)", err, sum)
	}
	defer func() {
		if recover() != "mine" {
			t.Error("a panic of another kind was held back")
		}
	}()
	_ = Guard(func() error { panic("mine") })
}

// field writes one field of a message.
func field(num protowire.Number, v any) []byte {
	switch v := v.(type) {
	case int:
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), uint64(v))
	case string:
		return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), v)
	case []byte:
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), v)
	case float32:
		return protowire.AppendFixed32(protowire.AppendTag(nil, num, protowire.Fixed32Type), math.Float32bits(v))
	}
	panic("no such field")
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// model wraps initializers.
func model(tensors ...[]byte) []byte {
	var g []byte
	for _, t := range tensors {
		g = append(g, field(5, t)...)
	}
	return field(7, g)
}

// Numbers may stand in a file in several forms.
func TestForms(t *testing.T) {
	floats := join(field(1, 2), field(2, 1), field(8, "t"))
	one, two := binary.LittleEndian.AppendUint32(nil, math.Float32bits(1.5)), binary.LittleEndian.AppendUint32(nil, math.Float32bits(-2))
	for name, b := range map[string][]byte{
		"raw":         join(floats, field(9, join(one, two))),
		"packed":      join(floats, field(4, join(one, two))),
		"single":      join(floats, field(4, float32(1.5)), field(4, float32(-2))),
		"mixed":       join(floats, field(4, one), field(4, float32(-2))),
		"packed dims": join(field(1, []byte{2}), field(2, 1), field(8, "t"), field(9, join(one, two))),
	} {
		g, err := decode(model(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if v, err := g.tensors[0].Floats(); err != nil || !slices.Equal(v, []float32{1.5, -2}) {
			t.Errorf("%s: %v %v", name, v, err)
		}
	}
	for kind, want := range map[Type][]int64{Int8: {5, -3}, Uint8: {5, 253}, Int32: {5, -3}, Int64: {5, -3}} {
		num := protowire.Number(5)
		if kind == Int64 {
			num = 7
		}
		g, err := decode(model(join(field(1, 2), field(2, int(kind)), field(num, 5), field(num, -3))))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := g.tensors[0].Ints(); err != nil || !slices.Equal(v, want) {
			t.Errorf("%s: %v %v", kind, v, err)
		}
		if _, err := g.tensors[0].Floats(); err == nil {
			t.Errorf("%s are floats", kind)
		}
	}
}

// What cannot be read is one error, in words.
func TestRefused(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(modeltest.Make(t, modeltest.Spec{}), "model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	floats := join(field(2, 1), field(8, "t"))
	outside := func(place, offset, length string) []byte {
		return model(join(field(1, 2), floats, field(14, 1), field(13, join(field(1, "location"), field(2, place))),
			field(13, join(field(1, "offset"), field(2, offset))), field(13, join(field(1, "length"), field(2, length)))))
	}
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"empty":                 {nil, "is empty"},
		"text":                  {[]byte("hello"), "damaged"},
		"HTML":                  {[]byte("<!DOCTYPE html><html>"), "damaged"},
		"a pointer":             {[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:99\nsize 1\n"), "git lfs pull"},
		"no graph":              {field(1, 8), "no graph"},
		"cut":                   {good[:len(good)/2], "damaged"},
		"cut at the end":        {good[:len(good)-1], "damaged"},
		"too few bytes":         {model(join(field(1, 3), floats, field(9, "1234"))), "should have 12 bytes, and 4"},
		"huge":                  {model(join(field(1, 1<<31-1), field(1, 1<<31-1), floats)), "impossible shape"},
		"negative":              {model(join(field(1, -1), floats)), "impossible shape"},
		"many dimensions":       {model(join(bytes.Repeat(field(1, 1), 9), floats)), "impossible shape"},
		"many nodes":            {field(7, bytes.Repeat(field(1, ""), 1<<20)), "more than 32 MB"},
		"many names":            {field(7, field(1, bytes.Repeat(field(1, ""), 1<<21))), "more than 32 MB"},
		"many attributes":       {field(7, field(1, bytes.Repeat(field(5, ""), 1<<20))), "more than 32 MB"},
		"many numbers":          {model(join(field(1, 1<<21), field(2, 7), field(7, make([]byte, 1<<21)))), "more than 32 MB"},
		"weights nowhere":       {outside("none", "0", "8"), "open its weights"},
		"weights elsewhere":     {outside("../model.onnx", "0", "8"), "outside of its directory"},
		"weights of the system": {outside("/etc/passwd", "0", "8"), "outside of its directory"},
		"behind the end":        {outside("model.onnx", "1000000", "8"), "does not fit"},
		"overflow":              {outside("model.onnx", "9223372036854775807", "8"), "does not fit"},
		"another length":        {outside("model.onnx", "0", "9"), "does not fit"},
		"a word":                {outside("model.onnx", "x", "8"), "impossible place"},
		"before":                {outside("model.onnx", "-8", "8"), "impossible place"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.onnx")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := Open(path)
			if err == nil {
				_ = m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "model.onnx") {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if _, err := Open(path); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}

// Whatever the file, there is a graph whose tensors have the bytes that they say, or an error; and little memory is taken.
func FuzzDecode(f *testing.F) {
	for _, s := range []modeltest.Spec{{Layers: 1, Width: 8, Heads: 2, Inner: 8, Positions: 4, Pieces: []string{"a"}}, {Layers: 1, Width: 8, Heads: 2, Inner: 8, Positions: 4, Form: modeltest.Unsigned8, Tables8: true, Pieces: []string{"a"}}} {
		b, err := os.ReadFile(filepath.Join(modeltest.Make(f, s), "model.onnx"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(model(join(field(1, 2), field(2, 1), field(4, float32(1)), field(4, float32(2)))))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decode(b)
		if err != nil {
			return
		}
		for _, x := range g.all() {
			if x.data != nil && len(x.data) != x.Len()*x.Type.size() {
				t.Errorf("%d bytes for %v of %s", len(x.data), x.Dims, x.Type)
			}
			if x.Len() < 1<<16 {
				_, _ = x.Floats()
				_, _ = x.Ints()
			}
		}
		m := &Model{}
		m.index(g)
		for _, n := range m.Nodes {
			for _, out := range n.Outputs {
				m.Tensor(out)
			}
		}
	})
}
