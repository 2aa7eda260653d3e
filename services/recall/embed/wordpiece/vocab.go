// SPDX-License-Identifier: MIT OR Apache-2.0

package wordpiece

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
)

// Bounds of a vocabulary.
const (
	maxPieces = 1 << 20
	maxPiece  = 1 << 10 // bytes
	maxVocab  = 32 << 20
)

// vocab maps pieces to ids. A Go map of 30 000 strings takes 2 MB and a garbage collector's time; this takes
// a third of it, in three pieces.
type vocab struct {
	text    []byte
	ends    []uint32 // of the pieces in text, in the order they came
	ids     []int32  // of the pieces; nil where the order is the id
	slots   []int32  // hash table: piece + 1
	seed    maphash.Seed
	size    int // one more than the largest id
	longest int // bytes of the longest piece
}

// add adds a piece. Adding ends with index.
func (v *vocab) add(piece []byte, id int) error {
	switch {
	case len(v.ends) == maxPieces || id < 0 || id >= maxPieces:
		return fmt.Errorf("it has more than %d pieces", maxPieces)
	case len(piece) > maxPiece || len(v.text)+len(piece) > maxVocab:
		return fmt.Errorf("its pieces are longer than %d bytes, or %d MB together", maxPiece, maxVocab>>20)
	}
	if v.ids == nil && id != len(v.ends) {
		v.ids = make([]int32, len(v.ends), cap(v.ends))
		for i := range v.ids {
			v.ids[i] = int32(i)
		}
	}
	v.text = append(v.text, piece...)
	v.ends = append(v.ends, uint32(len(v.text)))
	if v.ids != nil {
		v.ids = append(v.ids, int32(id))
	}
	v.size = max(v.size, id+1)
	v.longest = max(v.longest, len(piece))
	return nil
}

// index makes the pieces findable.
func (v *vocab) index() error {
	if len(v.ends) == 0 {
		return errors.New("it has no pieces")
	}
	n := 1
	for n < 2*len(v.ends) {
		n *= 2
	}
	v.slots = make([]int32, n)
	v.seed = maphash.MakeSeed()
	for i := range v.ends {
		piece := v.piece(i)
		at := v.hash("", piece)
		for v.slots[at] != 0 && string(v.piece(int(v.slots[at]-1))) != string(piece) {
			at = (at + 1) % len(v.slots)
		}
		v.slots[at] = int32(i + 1) // of two that are alike the last one counts
	}
	return nil
}

func (v *vocab) piece(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = v.ends[i-1]
	}
	return v.text[from:v.ends[i]]
}

func (v *vocab) hash(prefix string, rest []byte) int {
	var h maphash.Hash
	h.SetSeed(v.seed)
	_, _ = h.WriteString(prefix) // never fails
	_, _ = h.Write(rest)
	return int(h.Sum64() & uint64(len(v.slots)-1))
}

// find returns the id of a piece, which is given in two parts.
func (v *vocab) find(prefix string, rest []byte) (int32, bool) {
	for at := v.hash(prefix, rest); v.slots[at] != 0; at = (at + 1) % len(v.slots) {
		i := int(v.slots[at] - 1)
		p := v.piece(i)
		if len(p) == len(prefix)+len(rest) && string(p[:len(prefix)]) == prefix && string(p[len(prefix):]) == string(rest) {
			return v.id(i), true
		}
	}
	return 0, false
}

func (v *vocab) id(i int) int32 {
	if v.ids == nil {
		return int32(i)
	}
	return v.ids[i]
}

func (v *vocab) bytes() int64 {
	return int64(cap(v.text)) + 4*int64(cap(v.ends)+cap(v.ids)+cap(v.slots))
}

// fingerprint hashes the vocabulary and what else makes a tokenizer.
func (v *vocab) fingerprint(settings []byte, prefix string) []byte {
	h := sha256.New()
	h.Write(settings)
	h.Write([]byte(prefix + "\x00"))
	var b [4]byte
	for _, i := range v.byID() {
		binary.LittleEndian.PutUint32(b[:], uint32(v.id(i)))
		h.Write(b[:])
		h.Write(v.piece(i))
	}
	return h.Sum(nil)
}

// byID are the pieces in the order of their ids, not in that in which they came.
func (v *vocab) byID() []int {
	order := make([]int, len(v.ends))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return int(v.id(i) - v.id(j)) })
	return order
}
