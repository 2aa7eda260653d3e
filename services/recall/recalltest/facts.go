// SPDX-License-Identifier: MIT OR Apache-2.0

// Package recalltest makes facts to measure recall with, the same ones every time.
package recalltest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Facts are sentences of words that are as unevenly frequent as those of a language. Each ends with a number of its own,
// so none says what another one has said.
func Facts(n int) []string {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 4, 8000)
	word := func() string {
		w := zipf.Uint64()
		var b strings.Builder
		for range 2 + w%3 {
			b.WriteByte("bcdfghklmnprstvw"[w%16])
			b.WriteByte("aeiou"[w/16%5])
			w = w/7 + 3*w
		}
		return b.String()
	}
	out := make([]string, n)
	for i := range out {
		words := make([]string, 8+rng.IntN(8))
		for j := range words {
			words[j] = word()
		}
		out[i] = fmt.Sprintf("%s %d", strings.Join(words, " "), i)
	}
	return out
}

// Question asks for the i-th of some facts, with half of its words.
func Question(facts []string, i int) string {
	f := facts[i*37%len(facts)]
	return "What about " + f[:len(f)/2] + "?"
}
