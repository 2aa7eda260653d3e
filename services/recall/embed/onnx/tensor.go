// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Type is what a tensor's elements are, as TensorProto.DataType numbers it.
type Type int32

const (
	Float32 Type = 1
	Uint8   Type = 2
	Int8    Type = 3
	Int32   Type = 6
	Int64   Type = 7
	Float16 Type = 10
)

// size is an element's width in bytes, 0 for what is not read.
func (t Type) size() int {
	switch t {
	case Uint8, Int8:
		return 1
	case Float16:
		return 2
	case Float32, Int32:
		return 4
	case Int64:
		return 8
	}
	return 0
}

func (t Type) String() string {
	switch t {
	case Float32:
		return "float32"
	case Uint8:
		return "uint8"
	case Int8:
		return "int8"
	case Int32:
		return "int32"
	case Int64:
		return "int64"
	case Float16:
		return "float16"
	}
	return fmt.Sprintf("type %d", int32(t))
}

// Tensor is an array of numbers, in most cases a view of a mapped file.
type Tensor struct {
	Name string
	Type Type
	Dims []int

	data     []byte // little endian; nil for what is not read
	file     *mapping
	offset   int64 // in file
	external struct {
		is, measured   bool
		file           string
		offset, length int64
	}
}

// Len is how many elements it has.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Dims {
		n *= d // settle saw that it fits
	}
	return n
}

// Bytes are its elements as they lie in the file: little endian, not aligned.
func (t *Tensor) Bytes() []byte { return t.data }

// ReadRow reads one row of a table into p. Read so, by the file and not by the mapping,
// a table stays out of the process's memory.
func (t *Tensor) ReadRow(p []byte, row int) error {
	if row < 0 || len(p) == 0 || row >= len(t.data)/len(p) {
		return fmt.Errorf("%s has no row %d", t.Name, row)
	}
	at := int64(row) * int64(len(p))
	if t.file == nil {
		copy(p, t.data[at:])
		return nil
	}
	if _, err := t.file.file.ReadAt(p, t.offset+at); err != nil {
		return fmt.Errorf("read %s: %w", t.Name, err)
	}
	return nil
}

// Floats returns a copy of its elements, which must be float32.
func (t *Tensor) Floats() ([]float32, error) {
	if t.Type != Float32 || t.data == nil {
		return nil, fmt.Errorf("%s is %s, not float32", t.Name, t.Type)
	}
	out := make([]float32, t.Len())
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.data[4*i:]))
	}
	return out, nil
}

// Ints returns a copy of its elements, which must be whole numbers.
func (t *Tensor) Ints() ([]int64, error) {
	if t.data == nil {
		return nil, fmt.Errorf("%s is %s, not a whole number", t.Name, t.Type)
	}
	out := make([]int64, t.Len())
	for i := range out {
		switch t.Type {
		case Uint8:
			out[i] = int64(t.data[i])
		case Int8:
			out[i] = int64(int8(t.data[i]))
		case Int32:
			out[i] = int64(int32(binary.LittleEndian.Uint32(t.data[4*i:])))
		case Int64:
			out[i] = int64(binary.LittleEndian.Uint64(t.data[8*i:]))
		default:
			return nil, fmt.Errorf("%s is %s, not a whole number", t.Name, t.Type)
		}
	}
	return out, nil
}

func (t *Tensor) addDim(v uint64) error {
	if len(t.Dims) == maxRank || v > math.MaxInt32 {
		return errors.New("a tensor in it has an impossible shape")
	}
	t.Dims = append(t.Dims, int(v))
	return nil
}

// parts are the forms in which a tensor's elements may stand in a file.
type parts struct {
	*budget
	raw    []byte
	isRaw  bool
	typed  []byte // float_data in one piece
	floats []byte // float_data in many
	ints   []int64
}

// float takes a further piece of float_data. What comes in pieces is copied.
func (p *parts) float(kind protowire.Type, v uint64, s []byte) error {
	if kind == protowire.Fixed32Type {
		s = binary.LittleEndian.AppendUint32(nil, uint32(v))
	}
	if err := p.take(2 * (len(p.typed) + len(s))); err != nil { // slices grow by doubling
		return err
	}
	p.floats = append(append(p.floats, p.typed...), s...)
	p.typed = nil
	return nil
}

func (p *parts) int(v uint64) error {
	p.ints = append(p.ints, int64(v))
	return p.take(3 * 8)
}

// settle holds what a tensor says of itself against the bytes that are there.
func (t *Tensor) settle(p *parts) error {
	n := int64(1)
	for _, d := range t.Dims {
		if n > MaxFileBytes/int64(max(d, 1)) {
			return fmt.Errorf("tensor %q has an impossible shape %v", t.Name, t.Dims)
		}
		n *= int64(d)
	}
	size := int64(t.Type.size())
	if t.external.is || size == 0 {
		return nil // attach looks at it; others are of no use here
	}
	switch {
	case p.isRaw:
		t.data = p.raw
	case p.typed != nil:
		t.data = p.typed
	case p.floats != nil:
		t.data = p.floats
	default:
		t.data = pack(p.ints, t.Type)
	}
	if int64(len(t.data)) != n*size {
		return fmt.Errorf("tensor %q should have %d bytes, and %d are there: the file is damaged", t.Name, n*size, len(t.data))
	}
	return nil
}

// pack writes numbers as raw_data would have them.
func pack(ints []int64, t Type) []byte {
	out := make([]byte, 0, len(ints)*t.size())
	for _, v := range ints {
		switch t.size() {
		case 1:
			out = append(out, byte(v))
		case 2:
			out = binary.LittleEndian.AppendUint16(out, uint16(v))
		case 4:
			out = binary.LittleEndian.AppendUint32(out, uint32(v))
		case 8:
			out = binary.LittleEndian.AppendUint64(out, uint64(v))
		}
	}
	return out
}
