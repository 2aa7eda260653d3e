// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"strings"
	"time"
)

const (
	namePrefix = "blufio-"
	nameTime   = "20060102T150405Z"
	nameSuffix = ".tar.zst"
	nameAge    = ".age"
	maxNode    = 64
)

// Name is what an archive's file is called: blufio-<node>-<UTC>.tar.zst, with .age behind
// it when it is encrypted. What of the node's name cannot stand there becomes "_".
func Name(node string, at time.Time, encrypted bool) string {
	name := namePrefix + NodeName(node) + "-" + at.UTC().Format(nameTime) + nameSuffix
	if encrypted {
		name += nameAge
	}
	return name
}

// ParseName reads what [Name] has made: the node's name as it stands there (see [NodeName]),
// and the second. ok is false for every other name.
func ParseName(base string) (node string, at time.Time, ok bool) {
	stem, encrypted := strings.CutSuffix(base, nameAge)
	stem, hasSuffix := strings.CutSuffix(stem, nameSuffix)
	stem, hasPrefix := strings.CutPrefix(stem, namePrefix)
	i := len(stem) - len(nameTime) - 1
	if !hasSuffix || !hasPrefix || i < 1 {
		return "", time.Time{}, false
	}
	node = stem[:i]
	at, err := time.Parse(nameTime, stem[i+1:])
	if err != nil || Name(node, at, encrypted) != base {
		return "", time.Time{}, false
	}
	return node, at, true
}

// NodeName is a node's name as it stands in names of files.
func NodeName(node string) string {
	node = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, node)
	if node == "" {
		return "_"
	}
	return node[:min(len(node), maxNode)]
}
