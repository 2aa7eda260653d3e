// SPDX-License-Identifier: MIT OR Apache-2.0

// Package clip bounds texts: what is stored, sent or told of one that may have any length.
package clip

import "strings"

// Bytes is the beginning of s, at most n bytes of it, and never half a character.
func Bytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:max(n, 0)], "")
}

// Marked is [Bytes] for people: behind what was cut off stands "…", three bytes more than n.
func Marked(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return Bytes(s, n) + "…"
}
