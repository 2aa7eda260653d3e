// SPDX-License-Identifier: MIT OR Apache-2.0

package onnx

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

var errTruncated = errors.New("the file is damaged: it ends within a field, or is no ONNX model")

// fields calls f with each field of a message: number and type, and its value as a
// number or as bytes. Groups, which no ONNX file has, are an error.
func fields(b []byte, f func(num protowire.Number, kind protowire.Type, v uint64, s []byte) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errTruncated
		}
		b = b[n:]
		var v uint64
		var s []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var w uint32
			w, n = protowire.ConsumeFixed32(b)
			v = uint64(w)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			s, n = protowire.ConsumeBytes(b)
		default:
			return errTruncated
		}
		if n < 0 {
			return errTruncated
		}
		b = b[n:]
		if err := f(num, kind, v, s); err != nil {
			return err
		}
	}
	return nil
}

// varints calls f with each number of a repeated field, packed or not.
func varints(kind protowire.Type, v uint64, s []byte, f func(uint64) error) error {
	if kind == protowire.VarintType {
		return f(v)
	}
	if kind != protowire.BytesType {
		return errTruncated
	}
	for len(s) > 0 {
		v, n := protowire.ConsumeVarint(s)
		if n < 0 {
			return errTruncated
		}
		if err := f(v); err != nil {
			return err
		}
		s = s[n:]
	}
	return nil
}

// budget bounds what a graph takes on the heap, whatever the file says.
type budget struct{ left int }

// About what things take beside their names.
const (
	nodeBytes   = 256
	tensorBytes = 256
	attrBytes   = 96
	nameBytes   = 32
)

func (b *budget) take(n int) error {
	if b.left -= n; b.left < 0 {
		return fmt.Errorf("its graph would take more than %d MB of memory", MaxGraph>>20)
	}
	return nil
}

// name copies a name out of the file.
func (b *budget) name(s []byte) (string, error) {
	if err := b.take(nameBytes + len(s)); err != nil {
		return "", err
	}
	return string(s), nil
}
