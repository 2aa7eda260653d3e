// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// graph is what a file says, before weights in other files are attached.
type graph struct {
	nodes   []*Node
	tensors []*Tensor
}

// decoder reads one file.
type decoder struct {
	budget
	g graph
}

// decode reads a ModelProto. Tensors are views of b.
func decode(b []byte) (*graph, error) {
	d := &decoder{budget: budget{left: MaxGraph}}
	found := false
	err := fields(b, func(num protowire.Number, kind protowire.Type, _ uint64, s []byte) error {
		if num != 7 || kind != protowire.BytesType { // graph
			return nil
		}
		found = true
		return d.graph(s)
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("this is no ONNX model: it has no graph")
	}
	return &d.g, nil
}

// graph reads a GraphProto.
func (d *decoder) graph(b []byte) error {
	return fields(b, func(num protowire.Number, kind protowire.Type, _ uint64, s []byte) error {
		if kind != protowire.BytesType {
			return nil
		}
		switch num {
		case 1: // node
			n, err := d.node(s)
			if err != nil {
				return err
			}
			d.g.nodes = append(d.g.nodes, n)
		case 5: // initializer
			t, err := d.tensor(s)
			if err != nil {
				return err
			}
			d.g.tensors = append(d.g.tensors, t)
		}
		return nil
	})
}

// node reads a NodeProto.
func (d *decoder) node(b []byte) (*Node, error) {
	if err := d.take(nodeBytes); err != nil {
		return nil, err
	}
	n := &Node{}
	err := fields(b, func(num protowire.Number, kind protowire.Type, _ uint64, s []byte) (err error) {
		if kind != protowire.BytesType {
			return nil
		}
		switch num {
		case 1: // input
			n.Inputs, err = d.names(n.Inputs, s)
		case 2: // output
			n.Outputs, err = d.names(n.Outputs, s)
		case 3: // name
			n.Name, err = d.name(s)
		case 4: // op_type
			n.Op, err = d.name(s)
		case 5: // attribute
			err = d.attribute(n, s)
		}
		return err
	})
	return n, err
}

func (d *decoder) names(list []string, s []byte) ([]string, error) {
	name, err := d.name(s)
	return append(list, name), err
}

// attribute reads an AttributeProto. Subgraphs are not looked into.
func (d *decoder) attribute(n *Node, b []byte) error {
	if err := d.take(attrBytes); err != nil {
		return err
	}
	var a attr
	err := fields(b, func(num protowire.Number, kind protowire.Type, v uint64, s []byte) (err error) {
		switch {
		case num == 1 && kind == protowire.BytesType: // name
			a.name, err = d.name(s)
		case num == 2 && kind == protowire.Fixed32Type: // f
			a.f = math.Float32frombits(uint32(v))
		case num == 3 && kind == protowire.VarintType: // i
			a.i = int64(v)
		case num == 5 && kind == protowire.BytesType: // t
			a.t, err = d.tensor(s)
		}
		return err
	})
	n.attrs = append(n.attrs, a)
	return err
}

// tensor reads a TensorProto.
func (d *decoder) tensor(b []byte) (*Tensor, error) {
	if err := d.take(tensorBytes); err != nil {
		return nil, err
	}
	t := &Tensor{}
	p := parts{budget: &d.budget}
	err := fields(b, func(num protowire.Number, kind protowire.Type, v uint64, s []byte) (err error) {
		switch {
		case num == 1: // dims
			return varints(kind, v, s, t.addDim)
		case num == 2 && kind == protowire.VarintType: // data_type
			t.Type = Type(min(v, math.MaxInt32))
		case num == 4 && kind == protowire.BytesType && p.typed == nil && p.floats == nil: // float_data, in one piece: as raw_data
			p.typed = s
		case num == 4: // float_data, else
			return p.float(kind, v, s)
		case num == 5 || num == 7: // int32_data, int64_data
			return varints(kind, v, s, p.int)
		case num == 8 && kind == protowire.BytesType: // name
			t.Name, err = d.name(s)
		case num == 9 && kind == protowire.BytesType: // raw_data
			p.raw, p.isRaw = s, true
		case num == 13 && kind == protowire.BytesType: // external_data
			return d.external(t, s)
		case num == 14 && kind == protowire.VarintType: // data_location
			t.external.is = v == 1
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, t.settle(&p)
}

// external reads a StringStringEntryProto about where a tensor lies.
func (d *decoder) external(t *Tensor, b []byte) error {
	var key, value string
	err := fields(b, func(num protowire.Number, kind protowire.Type, _ uint64, s []byte) (err error) {
		switch {
		case kind != protowire.BytesType:
		case num == 1:
			key, err = d.name(s)
		case num == 2:
			value, err = d.name(s)
		}
		return err
	})
	if err != nil {
		return err
	}
	switch key {
	case "location":
		t.external.file = value
	case "offset":
		t.external.offset, err = strconv.ParseInt(value, 10, 64)
	case "length":
		t.external.length, err = strconv.ParseInt(value, 10, 64)
		t.external.measured = true
	}
	if err != nil || t.external.offset < 0 || t.external.length < 0 {
		return fmt.Errorf("tensor %q lies at an impossible place of another file", t.Name)
	}
	return nil
}
