// SPDX-License-Identifier: MIT OR Apache-2.0

package modeltest

import (
	"encoding/binary"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of types, as TensorProto.DataType has them.
const (
	typeFloat = 1
	typeUint8 = 2
	typeInt8  = 3
	typeInt64 = 7
)

// attr is an attribute of a node.
type attr func() []byte

func attribute(name string, kind uint64, value func([]byte) []byte) attr {
	return func() []byte {
		b := str(nil, 1, name)
		b = value(b)
		return number(b, 20, kind)
	}
}

func integer(name string, v int64) attr {
	return attribute(name, 2, func(b []byte) []byte { return number(b, 3, uint64(v)) })
}

func float(name string, v float32) attr {
	return attribute(name, 1, func(b []byte) []byte {
		return protowire.AppendFixed32(protowire.AppendTag(b, 2, protowire.Fixed32Type), math.Float32bits(v))
	})
}

func integers(name string, vs ...int64) attr {
	return attribute(name, 7, func(b []byte) []byte {
		for _, v := range vs {
			b = number(b, 8, uint64(v))
		}
		return b
	})
}

func value(t []byte) attr {
	return attribute("value", 4, func(b []byte) []byte { return sub(b, 5, t) })
}

func str(b []byte, num protowire.Number, s string) []byte { return sub(b, num, []byte(s)) }

func sub(b []byte, num protowire.Number, s []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), s)
}

func number(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// tensor encodes a TensorProto with raw data.
func tensor(name string, kind uint64, dims []int, raw []byte) []byte {
	b := head(name, kind, dims)
	return sub(b, 9, raw)
}

func head(name string, kind uint64, dims []int) []byte {
	var b []byte
	for _, d := range dims {
		b = number(b, 1, uint64(d))
	}
	b = number(b, 2, kind)
	return str(b, 8, name)
}

// outside encodes a TensorProto whose data lies in another file.
func outside(name string, kind uint64, dims []int, file string, offset, length int) []byte {
	b := head(name, kind, dims)
	for _, kv := range [][2]string{{"location", file}, {"offset", strconv.Itoa(offset)}, {"length", strconv.Itoa(length)}} {
		b = sub(b, 13, str(str(nil, 1, kv[0]), 2, kv[1]))
	}
	return number(b, 14, 1)
}

func floatBytes(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func intBytes(v []int64) []byte {
	b := make([]byte, 0, 8*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return b
}

// model encodes the ModelProto.
func (g *graph) model() []byte {
	var graph []byte
	for _, n := range g.nodes {
		graph = sub(graph, 1, n)
	}
	graph = str(graph, 2, "main_graph")
	for _, t := range g.tensors {
		graph = sub(graph, 5, t)
	}
	for _, in := range []string{"input_ids", "attention_mask", "token_type_ids"} {
		graph = sub(graph, 11, valueInfo(in, typeInt64, "batch_size", "sequence_length"))
	}
	graph = sub(graph, 12, valueInfo("last_hidden_state", typeFloat, "batch_size", "sequence_length", strconv.Itoa(g.Width)))
	b := number(nil, 1, 8) // ir_version
	b = str(b, 2, "pytorch")
	b = sub(b, 7, graph)
	return sub(b, 8, number(str(nil, 1, ""), 2, uint64(g.opset())))
}

func (g *graph) opset() int {
	if g.NormOp {
		return 17
	}
	return 14
}

// valueInfo encodes a ValueInfoProto. A dimension is a number, or a name.
func valueInfo(name string, kind uint64, dims ...string) []byte {
	var shape []byte
	for _, d := range dims {
		if n, err := strconv.Atoi(d); err == nil {
			shape = sub(shape, 1, number(nil, 1, uint64(n)))
			continue
		}
		shape = sub(shape, 1, str(nil, 2, d))
	}
	return sub(str(nil, 1, name), 2, sub(nil, 1, sub(number(nil, 1, kind), 2, shape)))
}
