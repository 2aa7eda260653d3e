// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/blufio/blufio/services/internal/clip"
)

// text is a value of the environment or of a flag, whose type the schema decides.
type text string

// coerce turns a TOML value or a text into the plain value koanf decodes: string,
// bool, int64, uint64, float64 or []any. Its error is the end of a sentence that
// begins with the key.
func (n *node) coerce(raw any) (any, error) {
	value, err := n.convert(raw)
	if err != nil {
		return nil, err
	}
	return value, n.checkBounds(value)
}

func (n *node) convert(raw any) (any, error) {
	if t, ok := raw.(text); ok {
		if !utf8.ValidString(string(t)) {
			return nil, errors.New("is not valid UTF-8")
		}
		raw = n.parse(string(t))
	}
	switch v := raw.(type) {
	case string:
		return n.convertText(v)
	case bool:
		if n.form == formBool {
			return v, nil
		}
	case int64:
		return n.convertInt(v)
	case uint64: // a default
		if n.form == formUint {
			return v, nil
		}
	case float64:
		if n.form == formFloat && !math.IsInf(v, 0) && !math.IsNaN(v) {
			return v, nil
		}
	case []any:
		return n.convertList(v)
	}
	return nil, n.mismatch(raw)
}

// parse reads a text as the type the node wants; what does not fit stays text, for
// convert to refuse.
func (n *node) parse(s string) any {
	switch n.form {
	case formBool:
		if s == "true" || s == "false" {
			return s == "true"
		}
	case formInt, formUint:
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return v
		}
	case formFloat:
		if v, err := strconv.ParseFloat(s, 64); err == nil {
			return v
		}
	case formList, formOneOrMore:
		list := []any{}
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			if n.elem == nil {
				list = append(list, part)
			} else {
				list = append(list, n.elem.parse(part))
			}
		}
		return list
	}
	return s
}

func (n *node) convertText(s string) (any, error) {
	switch n.form {
	case formString:
		return s, nil
	case formOneOrMore:
		return []any{s}, nil
	case formDuration:
		if _, err := ParseDuration(s); err != nil {
			return nil, n.mismatch(s)
		}
		return s, nil
	case formText:
		err := reflect.New(n.typ).Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
		if err != nil && n.secret {
			return nil, errors.New("is malformed") // the error may quote the secret
		}
		if err != nil {
			return nil, fmt.Errorf("is malformed: %w", err)
		}
		return s, nil
	}
	return nil, n.mismatch(s)
}

func (n *node) convertInt(v int64) (any, error) {
	zero := reflect.New(n.typ).Elem()
	switch n.form {
	case formInt:
		if !zero.OverflowInt(v) {
			return v, nil
		}
		most := int64(1)<<(n.typ.Bits()-1) - 1
		return nil, fmt.Errorf("must be %d to %d, not %d", -most-1, most, v)
	case formUint:
		if v >= 0 && !zero.OverflowUint(uint64(v)) {
			return uint64(v), nil
		}
		return nil, fmt.Errorf("must be 0 to %d, not %d", uint64(math.MaxUint64)>>(64-n.typ.Bits()), v)
	case formFloat:
		return float64(v), nil
	}
	return nil, n.mismatch(v)
}

func (n *node) convertList(list []any) (any, error) {
	if n.form != formList && n.form != formOneOrMore {
		return nil, n.mismatch(list)
	}
	out := make([]any, len(list))
	for i, item := range list {
		if n.form == formOneOrMore {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("wants text as item %d, not %s", i+1, n.given(item))
			}
			out[i] = s
			continue
		}
		v, err := n.elem.convert(item)
		if err != nil {
			return nil, fmt.Errorf("item %d %w", i+1, err)
		}
		out[i] = v
	}
	return out, nil
}

// mismatch says what was wanted, with an example, and what was given.
func (n *node) mismatch(raw any) error {
	return fmt.Errorf("wants %s such as %s, not %s", n.wants(), n.example(), n.given(raw))
}

// wants names the form in an owner's words.
func (n *node) wants() string {
	switch n.form {
	case formString, formText:
		return "text"
	case formDuration:
		return "a duration"
	case formBool:
		return "a boolean"
	case formInt, formUint:
		return "a whole number"
	case formFloat:
		return "a number"
	case formList:
		return "a list"
	}
	return "text or a list of text"
}

// example is a value that would be right: the default if there is one.
func (n *node) example() string {
	if s := literal(n.def); !n.secret && n.def != nil && s != `""` && s != "[]" && s != "0" && s != "0.0" && s != `"0s"` {
		return s
	}
	if len(n.bounds.oneof) > 0 {
		return quote(n.bounds.oneof[0])
	}
	switch n.form {
	case formDuration:
		return `"8s"`
	case formBool:
		return "true"
	case formInt, formUint:
		return "10"
	case formFloat:
		return "1.5"
	case formList:
		return "[" + n.elem.example() + "]"
	}
	return `"..."`
}

// given describes what an owner wrote, without showing a secret.
func (n *node) given(raw any) string {
	what, shown := "a date", ""
	switch v := raw.(type) {
	case string:
		what, shown = "the text", quote(clip.Marked(v, maxShown))
	case bool:
		what, shown = "the boolean", strconv.FormatBool(v)
	case int64:
		what, shown = "the number", strconv.FormatInt(v, 10)
	case float64:
		what, shown = "the number", strconv.FormatFloat(v, 'g', -1, 64)
	case []any:
		what = "a list"
	case map[string]any:
		what = "a section"
	}
	if n.secret || shown == "" {
		return strings.Replace(what, "the ", "a ", 1)
	}
	return what + " " + shown
}
