// SPDX-License-Identifier: MIT OR Apache-2.0

// Package index finds the vectors nearest to one, in little memory and without going to the disk. It knows nothing of
// texts, of the bus or of databases: who uses it puts vectors in under numbers of their own, and fills it again after
// [Index.Reset] or a start.
//
//	x := index.New(384, 16<<20)
//	err := x.Put("terminal:owner", 17, vector)
//	hits := x.Search(nil, "terminal:owner", query, 10)
//
// # What a vector becomes
//
// A vector is given the length 1 and turned (turn.go), which changes no angle but spreads what it says evenly over its
// numbers: those of a text in few words are mostly zeros before. Then each number is cut to 8 bits, and the bits are kept by
// their rank: a plane holds one bit of each number, 48 bytes for 384. A vector of 384 takes 384 bytes in planes, and 16 beside them.
//
// # How one is found
//
// First the plane of signs alone, of every vector of the owner, is held against the question in 4 bits: 24 population counts
// of 64 bits. The best of these, many more than were asked for (candidates.go), are compared in three planes, and the best of
// those in all, with the question in 10 bits. What is lost against an exact comparison is in the tests and in BENCHMARKS.md: of the ten nearest
// of 10 000 fewer than two in a hundred.
//
// # Bounds
//
// The index takes at most the bytes that it was made with. When it is full, every vector gives up the lowest of its planes, which needs
// no memory and some milliseconds, and so on as long as there are more than [MinBits]: the same memory then holds almost three
// times as many, less precisely. With 4 bits one or two of the ten nearest are others, nearly as near; with 2 it is half of
// them. [Index.Bits] tells how many bits are left. Who has the vectors themselves should then ask for more than are wanted, and
// compare those. The bits come back with Reset, which forgets all. Beyond MinBits Put returns [ErrFull]. What a search works with
// comes on top: 16 bytes for each 16th vector, and some 30 KB.
//
// Each owner's vectors lie by themselves, so a search costs nothing for those of others. They lie in chunks, which
// begin small and are never moved when they are large: the index grows without a second copy of itself.
//
// An Index is safe for concurrent use.
package index

import (
	"errors"
	"fmt"
	"sync"
)

// MinBits is the least that is kept of each number of a vector.
const MinBits = 2

const maxBits = 8

// ErrFull says that the index has no room for one more vector.
var ErrFull = errors.New("the index of vectors is full")

// Hit is a vector that was found.
type Hit struct {
	ID    int64
	Score float32 // the cosine of the angle to the question, nearly
}

// Index holds vectors.
type Index struct {
	dim     int
	words   int // of 64 bits, in a plane of one vector
	max     int64
	scratch sync.Pool // *scratch

	mu     sync.RWMutex
	bits   int // planes of each vector
	bytes  int64
	places map[int64]place
	most   int               // entries that places has room for
	owners map[string]uint32 // in segments
	segs   []*segment        // nil: free
	free   []uint32
}

// place is where a vector lies.
type place struct{ seg, row uint32 }

// What an entry of a map takes, which has room for up to twice as many, and what an owner takes beside the rows; as measured.
const (
	placeBytes = 32
	ownerBytes = 384
)

// New returns an empty index for vectors of dim numbers that takes at most so many bytes.
func New(dim int, maxBytes int64) *Index {
	x := &Index{dim: dim, words: (dim + 63) / 64, max: maxBytes}
	x.scratch.New = func() any { return newScratch(x.words) }
	x.Reset()
	return x
}

// Reset forgets everything, and gives its memory back.
func (x *Index) Reset() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.bits, x.bytes, x.most = maxBits, 0, 0
	x.places, x.owners = map[int64]place{}, map[string]uint32{}
	x.segs, x.free = nil, nil
}

// Len is how many vectors there are.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.places)
}

// Bytes is the memory that they take, and Limit the most that they may.
func (x *Index) Bytes() int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.bytes
}

// Limit is how many bytes the index may take.
func (x *Index) Limit() int64 { return x.max }

// Bits is how precise the vectors are: 8, or fewer since the index has been full.
func (x *Index) Bits() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.bits
}

// Put holds a vector for the owner under id, in place of what was there before. A vector of another size, or with a number
// that is none, is an error, and so is [ErrFull]; then what was there before stays.
func (x *Index) Put(owner string, id int64, vec []float32) error {
	s := x.scratch.Get().(*scratch)
	defer x.scratch.Put(s)
	if len(vec) != x.dim {
		return fmt.Errorf("put vector %d: it has %d numbers, not %d", id, len(vec), x.dim)
	}
	if !s.set(vec) {
		return fmt.Errorf("put vector %d: one of its numbers is none", id)
	}
	s.cut()
	x.mu.Lock()
	defer x.mu.Unlock()
	was, there := x.places[id]
	if there && x.segs[was.seg].owner == owner {
		x.segs[was.seg].write(int(was.row), id, s)
		return nil
	}
	if err := x.makeRoom(owner); err != nil {
		return fmt.Errorf("put vector %d: %w", id, err)
	}
	if there {
		x.remove(id, was)
	}
	x.add(owner, id, s)
	return nil
}

// makeRoom sees that one more of the owner's vectors fits.
func (x *Index) makeRoom(owner string) error {
	for {
		need := int64(placeBytes)
		if at, ok := x.owners[owner]; ok {
			need += x.segs[at].growth(x.bits)
		} else {
			need += ownerBytes + int64(len(owner)) + (&segment{words: x.words}).growth(x.bits)
		}
		if x.bytes+need <= x.max {
			return nil
		}
		if x.bits <= MinBits {
			return ErrFull
		}
		x.coarsen()
	}
}

// coarsen gives up a plane of every vector.
func (x *Index) coarsen() {
	x.bits--
	for _, seg := range x.segs {
		if seg != nil {
			x.bytes -= seg.coarsen()
		}
	}
}

func (x *Index) add(owner string, id int64, s *scratch) {
	at, ok := x.owners[owner]
	if !ok {
		at = x.newSegment(owner)
	}
	seg := x.segs[at]
	x.bytes += seg.growth(x.bits) + placeBytes
	row := seg.grow(x.bits)
	seg.write(row, id, s)
	x.places[id] = place{at, uint32(row)}
	x.most = max(x.most, len(x.places))
}

func (x *Index) newSegment(owner string) uint32 {
	at := uint32(len(x.segs))
	if n := len(x.free); n > 0 {
		at, x.free = x.free[n-1], x.free[:n-1]
	} else {
		x.segs = append(x.segs, nil)
	}
	x.segs[at] = &segment{owner: owner, words: x.words}
	x.owners[owner] = at
	x.bytes += ownerBytes + int64(len(owner))
	return at
}

// Delete forgets a vector, if it is there.
func (x *Index) Delete(id int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if was, ok := x.places[id]; ok {
		x.remove(id, was)
	}
}

// remove puts the owner's last vector in the place of the one that goes.
func (x *Index) remove(id int64, at place) {
	seg := x.segs[at.seg]
	if moved := seg.moveLast(int(at.row)); moved != id {
		x.places[moved] = at
	}
	delete(x.places, id)
	x.bytes -= placeBytes + seg.dropLast()
	if seg.rows == 0 {
		x.bytes -= ownerBytes + int64(len(seg.owner))
		delete(x.owners, seg.owner)
		x.segs[at.seg] = nil
		x.free = append(x.free, at.seg)
	}
	x.shrink()
}

// shrink makes the maps anew when they have become much too large, for by themselves they never do.
func (x *Index) shrink() {
	if x.most < 1024 || len(x.places) > x.most/4 {
		return
	}
	places := make(map[int64]place, len(x.places))
	for id, at := range x.places {
		places[id] = at
	}
	owners := make(map[string]uint32, len(x.owners))
	for owner, at := range x.owners {
		owners[owner] = at
	}
	x.places, x.owners, x.most = places, owners, len(places)
}

// Search appends to dst at most k of the owner's vectors, those nearest to the query, best first; of the owner "" everybody's. A query of
// another size, or that says nothing, finds nothing.
func (x *Index) Search(dst []Hit, owner string, query []float32, k int) []Hit {
	s := x.scratch.Get().(*scratch)
	defer x.scratch.Put(s)
	if k <= 0 || len(query) != x.dim || !s.set(query) || s.zero {
		return dst
	}
	s.ask()
	x.mu.RLock()
	defer x.mu.RUnlock()
	s.segs = s.segs[:0]
	if at, ok := x.owners[owner]; ok && owner != "" {
		s.segs = append(s.segs, x.segs[at])
	}
	if owner == "" {
		for _, seg := range x.segs {
			if seg != nil {
				s.segs = append(s.segs, seg)
			}
		}
	}
	return s.search(dst, k, x.bits)
}
