// SPDX-License-Identifier: MIT OR Apache-2.0

package static

import (
	"cmp"
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// relatedText is a list of English words of everyday life, one group of such as are about the same thing in a line.
//
//go:embed related.txt
var relatedText string

const (
	mostGroups    = 3          // that a word is in
	relatedLeast  = 3          // characters of a word that is looked up
	hastyLeast    = 7          // characters of one that is looked up by its consonants if it is not there
	relatedWeight = float32(2) // of what a word is about: related ones share nothing else
)

// lexicon is what the list says, 8 bytes for each word of it.
type lexicon struct {
	words  []relation
	bones  []relation // of the longer ones
	groups []uint64   // hash of each, which is its feature
}

// relation says that a word, by its hash, belongs to a group. Relations are sorted by word.
type relation struct {
	word  uint32
	group uint16
}

var related = sync.OnceValue(func() *lexicon {
	l := &lexicon{words: make([]relation, 0, strings.Count(relatedText, " "))}
	for line := range strings.Lines(relatedText) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0][0] == '#' {
			continue
		}
		group := uint16(len(l.groups))
		l.groups = append(l.groups, hash([]rune(words[0]+" "+words[1]), kindRelated))
		for _, word := range words {
			w := []rune(word)
			l.words = append(l.words, relation{key(w), group})
			if len(w) >= hastyLeast {
				l.bones = append(l.bones, relation{key(bones(w)), group})
			}
		}
	}
	for _, all := range [][]relation{l.words, l.bones} {
		slices.SortStableFunc(all, func(a, b relation) int { return cmp.Compare(a.word, b.word) })
	}
	return l
})

func key(w []rune) uint32 { return uint32(hash(w, kindRelated) >> 32) }

// endings are those of inflections, and what a word may have had instead of them, the likeliest first.
var endings = []struct{ ending, instead string }{{"", ""}, {"s", ""}, {"es", ""}, {"ies", "y"}, {"ed", ""}, {"d", ""}, {"ied", "y"}, {"ing", ""}, {"ing", "e"}, {"ly", ""}}

// of finds the groups of a word, or of what is left of it without an ending, or of one that has the same consonants.
func (l *lexicon) of(w []rune) []relation {
	var room [maxWord + 1]rune
	for _, e := range endings {
		n := len(w) - len(e.ending)
		if n < relatedLeast || string(w[n:]) != e.ending {
			continue
		}
		stem := append(room[:copy(room[:], w[:n])], []rune(e.instead)...)
		if found := lookUp(l.words, key(stem)); found != nil {
			return found
		}
		if n > relatedLeast && len(e.ending) > 1 && e.instead == "" && w[n-1] == w[n-2] { // jogging
			if found := lookUp(l.words, key(stem[:n-1])); found != nil {
				return found
			}
		}
	}
	if len(w) < hastyLeast {
		return nil
	}
	return lookUp(l.bones, key(bones(w)))
}

func lookUp(all []relation, word uint32) []relation {
	from, found := slices.BinarySearchFunc(all, word, func(r relation, word uint32) int { return cmp.Compare(r.word, word) })
	if !found {
		return nil
	}
	to := from
	for to < len(all) && all[to].word == word {
		to++
	}
	return all[from:to]
}

// related counts the groups that a word is in.
func (c *counter) related(w []rune) {
	if len(w) < relatedLeast || slices.Max(w) > 'z' {
		return // not English
	}
	l := related()
	in := l.of(w)
	for _, r := range in[:min(len(in), mostGroups)] {
		c.add(l.groups[r.group], relatedWeight/float32(len(in)))
	}
}
