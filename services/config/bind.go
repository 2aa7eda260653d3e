// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"slices"
)

var secretType = reflect.TypeFor[Secret]()

// Bind replaces every field of type [Secret] in into, a pointer to a configuration's
// struct, by what with returns for its key and its present value. Entries of maps are
// left as they are: their names are not known beforehand.
func Bind(into any, with func(key string, s Secret) Secret) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("bind secrets: %T is not a pointer to a struct", into)
	}
	root, err := newSchema(into)
	if err != nil {
		return fmt.Errorf("bind secrets: %w", err)
	}
	root.secretFields(nil, nil, func(path []string, index []int) {
		field := v.Elem().FieldByIndex(index)
		field.Set(reflect.ValueOf(with(joinKey(path), field.Interface().(Secret))))
	})
	return nil
}

// SecretKeys lists the keys of a configuration's struct that Bind binds.
func SecretKeys(defaults any) []string {
	root, _ := newSchema(defaults) // usable even with an error
	var keys []string
	root.secretFields(nil, nil, func(path []string, _ []int) { keys = append(keys, joinKey(path)) })
	return keys
}

// secretFields calls visit for every field of type Secret below n, with its key and where
// it is in the struct.
func (n *node) secretFields(path []string, index []int, visit func(path []string, index []int)) {
	for _, f := range n.fields {
		at := append(path[:len(path):len(path)], f.name)
		in := append(index[:len(index):len(index)], f.index)
		if f.typ == secretType {
			visit(at, in)
			continue
		}
		f.secretFields(at, in, visit)
	}
}

// IsSecret reports whether a dotted key is one whose value is never shown.
func (l *Loaded) IsSecret(key string) bool {
	path, err := splitKey(key)
	if err != nil {
		return false
	}
	n, known := l.root.find(path)
	return known == len(path) && n.secret
}

// SecretsInFiles lists the keys of secrets whose value comes from a file, where
// everyone who reads it reads them too.
func (l *Loaded) SecretsInFiles() []string {
	return slices.DeleteFunc(l.Keys(), func(key string) bool {
		value, _ := l.Get(key)
		return !l.IsSecret(key) || l.Origin(key).Source != FromFile || isZero(value)
	})
}
