// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// plain is the reverse of decoding: the value of a field as TOML would give it, with
// secrets in clear.
func (n *node) plain(v reflect.Value) any {
	switch n.form {
	case formDuration:
		return formatDuration(time.Duration(v.Int()))
	case formText:
		return plainText(v)
	case formString:
		return v.String()
	case formBool:
		return v.Bool()
	case formInt:
		return v.Int()
	case formUint:
		return v.Uint()
	case formFloat:
		return v.Float()
	}
	list := make([]any, v.Len())
	for i := range list {
		if n.elem != nil {
			list[i] = n.elem.plain(v.Index(i))
		} else {
			list[i] = v.Index(i).String()
		}
	}
	return list
}

// plainText asks the value for its text. The zero value is no text at all, whatever
// the type makes of it.
func plainText(v reflect.Value) string {
	if v.IsZero() && v.Kind() == reflect.Struct {
		return ""
	}
	p := reflect.New(v.Type()) // the methods may be on the pointer
	p.Elem().Set(v)
	switch t := p.Interface().(type) {
	case interface{ Reveal() string }:
		return t.Reveal()
	case encoding.TextMarshaler:
		if b, err := t.MarshalText(); err == nil {
			return string(b)
		}
		return ""
	case fmt.Stringer:
		return t.String()
	}
	return ""
}

// literal writes a plain value as TOML.
func literal(value any) string {
	switch v := value.(type) {
	case string:
		return quote(v)
	case float64:
		s := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = literal(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(value) // bool and integers
}

// isZero reports whether a plain value stands for "not set".
func isZero(value any) bool {
	switch v := value.(type) {
	case string:
		return v == "" || v == "0s"
	case []any:
		return len(v) == 0
	}
	return value == nil || reflect.ValueOf(value).IsZero()
}
