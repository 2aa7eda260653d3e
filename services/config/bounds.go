// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// bounds is what the tags min, max and oneof say, with the texts as written.
type bounds struct {
	min, max         *float64
	minText, maxText string
	oneof            []string
}

// readBounds takes the bounds from a field's tag. A bound that its type cannot have
// or that does not parse is an error.
func (n *node) readBounds(tag reflect.StructTag) error {
	for _, b := range []struct {
		name  string
		text  *string
		value **float64
	}{{"min", &n.bounds.minText, &n.bounds.min}, {"max", &n.bounds.maxText, &n.bounds.max}} {
		s, ok := tag.Lookup(b.name)
		if !ok {
			continue
		}
		v, err := n.parseBound(s)
		if err != nil {
			return fmt.Errorf("tag %s: %q is no bound of %s", b.name, s, n.typ)
		}
		*b.text, *b.value = s, &v
	}
	if s, ok := tag.Lookup("oneof"); ok {
		if n.form != formString && n.form != formText {
			return fmt.Errorf("tag oneof: %s is not text", n.typ)
		}
		n.bounds.oneof = strings.Split(s, ",")
	}
	return nil
}

func (n *node) parseBound(s string) (float64, error) {
	switch n.form {
	case formDuration:
		d, err := ParseDuration(s)
		return float64(d), err
	case formNone, formSection, formEntries, formBool:
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(s, 64)
}

// checkBounds holds a plain value against the bounds. Numbers and durations have a
// size; text and lists have a length, for which the message names the unit.
func (n *node) checkBounds(value any) error {
	if len(n.bounds.oneof) > 0 && !slices.Contains(n.bounds.oneof, value.(string)) {
		return n.notOneOf(value.(string))
	}
	size, unit := n.size(value)
	verb := "must be"
	if unit != "" {
		verb = "must have"
	}
	if n.bounds.min != nil && size < *n.bounds.min {
		return fmt.Errorf("%s at least %s%s, not %s", verb, n.bounds.minText, unit, n.measured(value, size))
	}
	if n.bounds.max != nil && size > *n.bounds.max {
		return fmt.Errorf("%s at most %s%s, not %s", verb, n.bounds.maxText, unit, n.measured(value, size))
	}
	return nil
}

func (n *node) size(value any) (size float64, unit string) {
	switch v := value.(type) {
	case int64:
		return float64(v), ""
	case uint64:
		return float64(v), ""
	case float64:
		return v, ""
	case []any:
		return float64(len(v)), " items"
	case string:
		if n.form == formDuration {
			d, _ := ParseDuration(v) // convert has parsed it before
			return float64(d), ""
		}
		return float64(len(v)), " bytes"
	}
	return 0, ""
}

// measured shows what was held against a bound: the value, or the length of it.
func (n *node) measured(value any, size float64) string {
	if s, ok := value.(string); ok && n.form == formDuration {
		return s
	}
	return strconv.FormatFloat(size, 'f', -1, 64)
}

func (n *node) notOneOf(value string) error {
	shown := make([]string, len(n.bounds.oneof))
	for i, s := range n.bounds.oneof {
		shown[i] = quote(s)
	}
	err := fmt.Errorf("must be one of %s, not %s", strings.Join(shown, ", "), n.given(value))
	if near := Nearest(value, n.bounds.oneof); near != "" {
		return hinted{err, "did you mean " + quote(near) + "?"}
	}
	return err
}

// hinted is an error that carries a hint.
type hinted struct {
	error
	hint string
}

// text describes the bounds for a reader of the documentation, or is empty.
func (n *node) boundsText() string {
	_, unit := n.size(n.def)
	switch b := n.bounds; {
	case len(b.oneof) > 0:
		shown := make([]string, len(b.oneof))
		for i, s := range b.oneof {
			shown[i] = quote(s)
		}
		return "one of " + strings.Join(shown, ", ")
	case b.min != nil && b.max != nil:
		return b.minText + " to " + b.maxText + unit
	case b.min != nil:
		return "at least " + b.minText + unit
	case b.max != nil:
		return "at most " + b.maxText + unit
	}
	return ""
}
