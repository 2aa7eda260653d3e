// SPDX-License-Identifier: MIT OR Apache-2.0

// Package onnx reads model files: their graph, and their weights where they lie.
//
//	m, err := onnx.Open("model.onnx")
//	…
//	bias, ok := m.Tensor("encoder.layer.0.attention.self.query.bias")
//
// The file is mapped into memory, not read: a tensor is a view of it, or of a file
// beside it that it names ("external data"). So weights take memory only while they
// are used, memory that the kernel can take back, and [Model.Shed] gives it back at
// once. The graph itself, names and all, is small and lies on the heap; [Model.Forget]
// lets go of it when the weights have been found.
//
//	onnx.go    the model, and what its graph has under which name
//	decode.go  the file's format, field by field
//	wire.go    the encoding below it
//	tensor.go  weights and constants
//	mapping.go the mapped files
//
// A file may be hostile. What is allocated for it has bounds that do not depend on what
// it says of itself, tensors are held against the bytes that are there, and whatever
// does not fit is one error.
//
// The format is that of onnx.proto in the project onnx/onnx; field numbers are
// named after it. Nothing is executed here: who knows the model's kind finds its weights
// by their names or by following the graph.
package onnx

import (
	"errors"
	"fmt"
	"path/filepath"
)

// Bounds of what is taken from a file.
const (
	MaxFileBytes = 8 << 30  // of one file, mapped
	MaxGraph     = 32 << 20 // bytes on the heap, about, for the graph and what is not a view

	maxRank   = 8
	maxBeside = 16 // files with weights
)

// Node is one operation of the graph.
type Node struct {
	Name    string // may be ""
	Op      string
	Inputs  []string // "" is an input that was left out
	Outputs []string
	attrs   []attr
}

// attr is an attribute of the kinds that are looked at.
type attr struct {
	name string
	f    float32
	i    int64
	t    *Tensor // of a Constant
}

// Float returns a number among the node's attributes.
func (n *Node) Float(name string) (float32, bool) {
	for _, a := range n.attrs {
		if a.name == name {
			return a.f, true
		}
	}
	return 0, false
}

// Int returns a whole number among the node's attributes, or otherwise what is given.
func (n *Node) Int(name string, otherwise int64) int64 {
	for _, a := range n.attrs {
		if a.name == name {
			return a.i
		}
	}
	return otherwise
}

// Input returns the i-th input's name, "" where there is none.
func (n *Node) Input(i int) string {
	if i < len(n.Inputs) {
		return n.Inputs[i]
	}
	return ""
}

// Model is an open file. Its tensors are valid until it is closed.
type Model struct {
	Nodes   []*Node
	tensors map[string]*Tensor
	from    map[string]*Node   // who makes a value
	to      map[string][]*Node // who uses it
	files   []*mapping
}

// Open opens the model at path, and the files beside it that hold its weights.
func Open(path string) (*Model, error) {
	main, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	m := &Model{files: []*mapping{main}}
	if err := Guard(func() error { return m.load(path) }); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", filepath.Base(path), err), m.Close())
	}
	return m, nil
}

// load reads the graph and finds where the weights are.
func (m *Model) load(path string) error {
	main := m.files[0]
	if pointsElsewhere(main.data) {
		return errors.New("this is a Git LFS pointer and not the model itself; `git lfs pull` fetches that")
	}
	g, err := decode(main.data)
	if err != nil {
		return err
	}
	if err := m.attach(g, filepath.Dir(path)); err != nil {
		return err
	}
	m.index(g)
	return nil
}

// index takes over a graph.
func (m *Model) index(g *graph) {
	m.Nodes = g.nodes
	m.tensors = make(map[string]*Tensor, len(g.tensors))
	m.from, m.to = map[string]*Node{}, map[string][]*Node{}
	for _, t := range g.tensors {
		m.tensors[t.Name] = t
	}
	for _, n := range g.nodes {
		for _, out := range n.Outputs {
			m.from[out] = n
		}
		for _, in := range n.Inputs {
			m.to[in] = append(m.to[in], n)
		}
	}
}

// Tensor returns what is stored under a value's name: an initializer, or a constant.
func (m *Model) Tensor(name string) (*Tensor, bool) {
	for range 4 { // exporters put Identity in front of what several share
		if t, ok := m.tensors[name]; ok {
			return t, true
		}
		n := m.from[name]
		if n == nil {
			return nil, false
		}
		switch n.Op {
		case "Constant":
			for _, a := range n.attrs {
				if a.name == "value" && a.t != nil {
					return a.t, true
				}
			}
			return nil, false
		case "Identity":
			name = n.Input(0)
		default:
			return nil, false
		}
	}
	return nil, false
}

// Tensors calls f with every initializer, in no order.
func (m *Model) Tensors(f func(*Tensor)) {
	for _, t := range m.tensors {
		f(t)
	}
}

// From returns the node that makes a value, or nil.
func (m *Model) From(value string) *Node { return m.from[value] }

// To returns the nodes that use a value.
func (m *Model) To(value string) []*Node { return m.to[value] }

// Forget lets go of the graph. Tensors that were taken from it stay valid.
func (m *Model) Forget() { m.Nodes, m.tensors, m.from, m.to = nil, nil, nil, nil }

// Size is how many bytes are mapped.
func (m *Model) Size() int64 {
	var n int64
	for _, f := range m.files {
		n += int64(len(f.data))
	}
	return n
}

// Resident is how many of the mapped bytes lie in memory for this process, as far as the
// system tells. To find out takes about a millisecond.
func (m *Model) Resident() int64 {
	var n int64
	for _, f := range m.files {
		n += f.resident()
	}
	return n
}

// Shed gives the mapped memory back to the system. It comes again from the file as it is used.
func (m *Model) Shed() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.shed())
	}
	return errors.Join(errs...)
}

// Close unmaps the files. No tensor may be used afterwards.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.close())
	}
	m.Forget()
	m.files = nil
	return errors.Join(errs...)
}
