// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the candidate that name was probably meant to be, or "".
func Nearest(name string, candidates []string) string {
	const longest = 64 // bytes; nothing longer is a slip of the fingers
	if len(name) > longest {
		return ""
	}
	name = strings.ToLower(name)
	best, distance := "", min(3, (len(name)+1)/2)+1
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(name, strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	if best != "" || len(name) < 3 {
		return best
	}
	for _, c := range candidates {
		if strings.HasPrefix(c, name) || strings.HasPrefix(name, c) {
			return c
		}
	}
	return ""
}

const maxHere = 12 // keys of a section that are listed beside other advice

// advise writes the hint for a path the schema knows only up to part at, where n is.
// Keys are shown the way the source writes them.
func (n *node) advise(root *node, path []string, at int, show func([]string) string) string {
	names := make([]string, len(n.fields))
	for i, f := range n.fields {
		names[i] = f.name
	}
	if near := Nearest(path[at], names); near != "" {
		meant := append(slices.Clone(path[:at]), near)
		if rest := path[at+1:]; len(rest) > 0 {
			if _, known := root.find(append(meant, rest...)); known == len(path) {
				meant = append(meant, rest...)
			}
		}
		return "did you mean " + show(meant) + "?"
	}
	known := "known here: " + strings.Join(names, ", ")
	if homes := root.homes(path[len(path)-1]); len(homes) > 0 {
		home := named(path[len(path)-1:]) + " belongs to " + strings.Join(homes, " or ")
		if at > 0 && len(homes) > 1 && len(names) > 0 && len(names) <= maxHere {
			return known + "; " + home // a name that many sections have, such as enable
		}
		return home
	}
	if len(names) == 0 {
		return ""
	}
	return known
}

// homes lists the sections, at most three, that have a value of this name.
func (n *node) homes(name string) []string {
	var homes []string
	n.walk(nil, func(path []string, n *node) {
		if n.isValue() && n.name == name && len(path) > 1 && len(homes) < 3 {
			homes = append(homes, "["+joinKey(path[:len(path)-1])+"]")
		}
	})
	return homes
}
