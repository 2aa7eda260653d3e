// SPDX-License-Identifier: MIT OR Apache-2.0

package recall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/blufio/blufio/services/recall/index"
)

const (
	fillOnce  = 500                    // vectors that are read at once
	fillWait  = 250 * time.Millisecond // that a search waits for the index
	wholeBits = 8                      // of a vector's numbers in an index that was never full
)

// shelf holds the vectors that are searched. They are read from the database when they are first needed, and again after
// they were given up.
//
// Whoever changes vectors in the database puts or deletes them here afterwards, under mu; filling reads and puts a page
// under it too. So none is left here of a fact that is gone.
type shelf struct {
	max  int64
	want chan struct{} // to be filled

	mu       sync.Mutex
	x        *index.Index // nil: there is no embedder
	embedder string
	next     int64 // filled up to here
	full     bool  // all are here
	filled   chan struct{}
	left     int64     // vectors that found no room
	not      time.Time // not to be filled before
}

func newShelf(max int64) *shelf {
	return &shelf{max: max, want: make(chan struct{}, 1), filled: make(chan struct{})}
}

// begin empties the shelf for vectors of another embedder.
func (v *shelf) begin(embedder string, dim int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.x, v.embedder = index.New(dim, v.max), embedder
	v.empty()
}

func (v *shelf) empty() {
	if v.full {
		v.filled = make(chan struct{})
	}
	v.next, v.full, v.left = 0, false, 0
}

// await returns the index when all vectors of an embedder are in it; if they are not it has them fetched, and waits for a
// moment. nil: not yet.
func (v *shelf) await(ctx context.Context, embedder string, most time.Duration) *index.Index {
	x, filled := v.look(embedder)
	if x != nil || filled == nil {
		return x
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-filled:
	case <-timer.C:
	case <-ctx.Done():
	}
	x, _ = v.look(embedder)
	return x
}

func (v *shelf) look(embedder string) (*index.Index, chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.x == nil || v.embedder != embedder {
		return nil, nil
	}
	if v.full {
		return v.x, nil
	}
	v.order()
	return nil, v.filled
}

// put holds a vector, if there is something that it would be missing from. mu is held.
func (v *shelf) put(owner string, n int64, vector []float32) error {
	if v.x == nil || !v.full && n > v.next || len(vector) == 0 {
		return nil // filling comes by
	}
	err := v.x.Put(owner, n, vector)
	if errors.Is(err, index.ErrFull) {
		v.left++
		return nil
	}
	return err
}

// drop lets go of vectors whose facts are gone from the database.
func (v *shelf) drop(ns []int64) {
	if len(ns) == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.x == nil {
		return
	}
	for _, n := range ns {
		v.x.Delete(n)
	}
	if v.full && v.roomy() {
		v.x.Reset()
		v.empty()
		v.order()
	}
}

// roomy reports whether to read all vectors again gets more of them in, or much more of each. It does so seldom: a
// quarter of the room has to be free, or more than half of it with whole vectors.
func (v *shelf) roomy() bool {
	bytes, bits := v.x.Bytes(), int64(v.x.Bits())
	return v.left > 0 && bytes < v.max/4*3 || bits < wholeBits && bytes*wholeBits/bits < v.max/2
}

// order has the shelf filled.
func (v *shelf) order() {
	select {
	case v.want <- struct{}{}:
	default:
	}
}

// shed gives the index up, and keeps it away for a while.
func (v *shelf) shed(until time.Time) (freed int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.not = until
	if v.x == nil {
		return 0
	}
	freed = v.x.Bytes()
	v.x.Reset()
	v.empty()
	return freed
}

// state is how many vectors there are, what they take, and how many found no room.
func (v *shelf) state() (n int, bytes, left int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.x == nil {
		return 0, 0, 0
	}
	return v.x.Len(), v.x.Bytes(), v.left
}

// fill reads the vectors into the shelf when they are wanted.
func (s *Service) fill(ctx context.Context) error {
	for {
		select {
		case <-s.shelf.want:
		case <-ctx.Done():
			return nil
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = s.fillPage(ctx); err != nil && ctx.Err() == nil {
				s.d.Logger.Warn("vectors are not read; words alone are searched", "service", name, "err", err)
				break
			}
		}
	}
}

// fillPage reads the next vectors. It reports whether there may be more.
func (s *Service) fillPage(ctx context.Context) (more bool, err error) {
	v := s.shelf
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.x == nil || v.full || s.d.Now().Before(v.not) {
		return false, nil
	}
	rows, err := s.d.Store.Query(ctx, `SELECT v.n, e.owner, v.vector FROM recall_vector v JOIN recall_entry e ON e.n = v.n
		WHERE v.n > ? AND v.embedder = ? ORDER BY v.n LIMIT ?`, v.next, v.embedder, fillOnce)
	if err != nil {
		return false, fmt.Errorf("read vectors: %w", err)
	}
	defer rows.Close()
	read := 0
	var vector []float32
	for rows.Next() {
		var n int64
		var owner string
		var blob []byte
		if err := rows.Scan(&n, &owner, &blob); err != nil {
			return false, fmt.Errorf("read vectors: %w", err)
		}
		read, v.next = read+1, n
		if vector = unpack(vector, blob); len(vector) > 0 {
			if err := v.put(owner, n, vector); err != nil {
				return false, err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return false, fmt.Errorf("read vectors: %w", err)
	}
	if read < fillOnce {
		v.full = true
		close(v.filled)
	}
	return !v.full, nil
}

// pack and unpack are a vector as it is stored. One that says nothing is stored as no bytes.
func pack(v []float32) []byte {
	out := make([]byte, 0, 4*len(v))
	zero := true
	for _, x := range v {
		zero = zero && x == 0
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	if zero {
		return []byte{}
	}
	return out
}

func unpack(to []float32, blob []byte) []float32 {
	to = to[:0]
	for ; len(blob) >= 4; blob = blob[4:] {
		to = append(to, math.Float32frombits(binary.LittleEndian.Uint32(blob)))
	}
	return to
}
