// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import "reflect"

// KeyedSecret is a secret that is set, and its dotted key.
type KeyedSecret struct {
	Key    string
	Secret Secret
}

// Secrets lists the secrets that are set in a struct as [Load] fills it, in the order
// of its fields.
func Secrets(cfg any) ([]KeyedSecret, error) {
	root, err := newSchema(cfg)
	if err != nil {
		return nil, err
	}
	v := reflect.ValueOf(cfg)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	var found []KeyedSecret
	root.secrets(v, nil, &found)
	return found, nil
}

func (n *node) secrets(v reflect.Value, path []string, found *[]KeyedSecret) {
	below := func(name string) []string { return append(path[:len(path):len(path)], name) }
	switch n.form {
	case formSection:
		for _, f := range n.fields {
			f.secrets(v.Field(f.index), below(f.name), found)
		}
	case formEntries:
		for _, name := range entryNames(v) {
			n.elem.secrets(entry(v, name), below(name), found)
		}
	case formList:
		for i := range v.Len() {
			n.elem.secrets(v.Index(i), path, found)
		}
	default:
		n.secretValue(v, path, found)
	}
}

func (n *node) secretValue(v reflect.Value, path []string, found *[]KeyedSecret) {
	if !n.secret {
		return
	}
	s, ok := v.Interface().(interface{ Reveal() string })
	if !ok { // its method wants a pointer
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		s, ok = p.Interface().(interface{ Reveal() string })
	}
	if ok && s.Reveal() != "" {
		*found = append(*found, KeyedSecret{Key: joinKey(path), Secret: NewSecret(s.Reveal())})
	}
}
